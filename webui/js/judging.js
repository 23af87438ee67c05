// Owns what the judge is asked to do: scores, rounds, captions, comparisons; each says what it takes before it begins.
import { call, knows } from './api.js';
import { target } from './decide.js';
import { deed } from './deed.js';
import { enter } from './form.js';
import { failureKind, number, t } from './i18n.js';
import { match, readAgain } from './list.js';
import { openDialog, toast, toastError } from './notices.js';
import { storeSettings } from './run.js';
import * as store from './store.js';
import { noteStep } from './undo.js';

/** Jobs that ask the judge. */
export const JUDGE_JOBS = ['judge', 'captions', 'compare', 'rounds', 'prompts'];

/** Whether there is a judge to ask. */
export const canJudge = () => knows('judge_results') && Boolean(store.judge.value?.model_name);

export async function loadJudge() {
  if (knows('get_judge')) store.judge.value = (await call('get_judge')).config;
}

/** How the scores lie, and how far the judge agrees with the person. */
export async function loadReport() {
  const stands = store.asked.report();
  const report = await call('judge_report');
  if (stands()) store.judgeReport.value = report;
}

/* ---- which pairs ---- */

const SCOPES = {
  selection: [() => store.selectionCount.peek() > 0, () => target(), () => store.selectionCount.peek()],
  filter: [() => store.filtered.peek(), () => ({ match: match() }), () => store.total.peek()],
  all: [() => true, () => ({}), () => store.taskCount.peek()],
};

/** What may be meant, the narrowest first: [{scope, count}]. */
export const scopes = () =>
  Object.entries(SCOPES)
    .filter(([, [there]]) => there())
    .map(([scope, [, , count]]) => ({ scope, count: count() ?? 0 }));

const where = (scope) => SCOPES[scope][1]();

/* ---- deeds ---- */

/** Opens one of the judge's dialogs; without a judge the place where one is set up. */
async function withJudge(kind, more = {}) {
  await loadJudge();
  if (!canJudge()) {
    toast(t('page.judge.setUp'), { topic: 'judge' });
    store.place.value = 'connect';
    return null;
  }
  return openDialog(kind, more);
}

const begin = (operation, params) =>
  deed(`judge ${operation}`, async () => {
    const stands = store.asked.status();
    const answer = await call(operation, params);
    if (answer.job && stands()) store.job.value = answer.job; // else the stream tells: the job may be over by now
    return answer;
  });

/** Calls that scoring takes, and answers that are there already. */
export const planScores = (scope, again) => call('judge_results', { ...where(scope), again, dry_run: true });

export async function openScores() {
  const answer = await withJudge('score').catch(toastError);
  if (answer) await begin('judge_results', { ...where(answer.scope), again: answer.again });
}

/** Scores the pictures of the trial that is shown. */
export const scoreTrial = () =>
  begin('judge_results', { task_ids: store.trial.peek().rows.flatMap((row) => row.cells) });

/** How many results lie below a score and are ticked. */
export const countTicked = (score, scope) => call('untick_below', { score, ...where(scope), dry_run: true });

/** Unticks what was scored below, as one step. */
export async function openUntick() {
  const answer = await withJudge('untick').catch(toastError);
  if (!answer) return;
  await deed('untick below', async () => {
    const { affected, undo } = await call('untick_below', { score: answer.score, ...where(answer.scope) });
    const off = (values) => Object.fromEntries(Object.keys(values).map((id) => [id, false]));
    const after = undo.map((one) => ({ ...one, ticked: off(one.ticked) }));
    const label = t('page.step.bulk.untick', { count: undo.length });
    if (affected) noteStep({ label, before: undo, after });
    await Promise.all(undo.slice(0, 100).map((one) => readAgain(one.task_id)));
    toast(t('page.judge.unticked', { count: affected }));
  });
}

/** How many tasks have no result that reaches a score. */
export const countBelow = (score) => call('retry_below', { score, dry_run: true });

/** Asks again for what was scored below, so many rounds, with the prompt that the form shows. */
export async function openRounds() {
  const answer = await withJudge('rounds').catch(toastError);
  if (!answer || !(await storeSettings())) return;
  const { score, rounds, withReason } = answer;
  const begun = await begin('retry_below', { score, rounds, with_reason: withReason });
  if (begun) toast(t('page.retry.started', { count: begun.retried_count }), { topic: 'retry' });
}

export async function openCaptions() {
  const answer = await withJudge('captions').catch(toastError);
  if (!answer) return;
  const { scope, length, language } = answer;
  await begin('write_captions', { ...where(scope), length, language });
}

/** Lets the judge compare the results of each task two by two. */
export async function openCompare() {
  const answer = await withJudge('compare').catch(toastError);
  if (answer) await begin('compare_results', where(answer.scope));
}

/** Lets a model write a prompt for each picture of the folder from one intention: a table that the run then takes. */
export async function openPrompts() {
  const intention = await withJudge('intention').catch(toastError);
  const input = store.forms.plan.peek().input_path;
  if (intention) await begin('write_prompts', { input_path: input, intention });
}

/** Shows how far the judge may be trusted; takes over the pass mark that agrees best. */
export async function openCalibration() {
  await loadReport().catch(toastError);
  const pass = await withJudge('calibration').catch(toastError);
  if (typeof pass !== 'number') return;
  await deed('judge config', async () => {
    store.judge.value = (await call('save_judge', { config: { pass_score: pass } })).config;
    await loadReport();
    toast(t('page.judge.passSaved', { score: pass }));
  });
}

/** Keeps a caption that the person wrote, or has read. */
export const saveCaption = (task, result, text) =>
  deed(`caption ${result.id}`, async () => {
    await call('set_caption', { task_id: task.id, result_id: result.id, text });
    await readAgain(task.id);
  });

export const stopJudging = () => deed('stop job', () => call('stop_job'));

/** Says what came of a job of the judge. */
export function judgeJobEnded({ kind, result }) {
  const { pairs = 0, calls = 0, reused = 0, failed = 0, bad = 0, problem } = result ?? {};
  const parts = [t(`page.judge.ended.${kind}`, { count: pairs, bad }), t('page.judge.used', { calls, reused })];
  if (failed) parts.push(t('page.judge.failed', { count: failed, why: problem ? failureKind(problem.code) : '' }));
  if (kind === 'prompts' && pairs) {
    enter('plan', 'prompt_table', result.path);
    parts.push(t('page.prompts.table'));
  }
  toast(parts.join(' '), { kind: failed ? 'error' : 'info', topic: 'judge' });
}

/** A job of the judge in words: what it does, how far it is. */
export const jobText = (job) =>
  `${t(`page.judge.job.${job.kind}`)} ${number(job.done)}${job.total ? ` / ${number(job.total)}` : ''}`;
