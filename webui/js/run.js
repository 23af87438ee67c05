// Owns the calls that cost money: start, continue, retry; none is made with a prompt that the person did not see.
import { call } from './api.js';
import { deed, pushRecent } from './deed.js';
import { lossLines, target } from './decide.js';
import { refresh } from './events.js';
import { fillSettings, isDirty, readSettings, showError } from './form.js';
import { money, t } from './i18n.js';
import { inspect, planParams } from './inspect.js';
import { clearSelection, fresh } from './list.js';
import { announce, ask, openDialog, toast } from './notices.js';
import { acceptProposal, loadProjects } from './projects.js';
import * as store from './store.js';
import { forgetSteps } from './undo.js';

const FORMS = ['plan', 'config'];
const NEEDED = ['api_url', 'model_name'];

/** What a call costs by the delivery of a configuration, 0 without a price. */
function priceOf(config) {
  const { price_now: live, price_batch: batch } = store.inspection.peek() ?? {};
  const share = config.delivery === 'batch' && live > 0 && batch > 0 ? batch / live : 1;
  return (Number(config.price_per_call) || 0) * share;
}

/** Costs of so many calls, '' without a price. */
export function costOf(calls, config = store.forms.config.peek()) {
  const price = priceOf(config);
  return price ? t('page.cost.about', { price: money(price * calls) }) : '';
}

/** The settings as a run will use them, or null, told at the field. */
function settingsForRun() {
  const config = readSettings({ needed: NEEDED });
  if (!config) return null;
  if (config.user_prompt?.trim() || store.forms.plan.peek().prompt_table.trim()) return config;
  showError('config', 'user_prompt', t('page.run.noPrompt'));
  return null;
}

/** What is sent is what the form shows: entries that are not stored yet are stored first. */
export async function storeSettings() {
  const config = settingsForRun();
  if (!config) return null;
  if (isDirty()) {
    await call('save_config', { config });
    await refresh();
    fillSettings();
  }
  return config;
}

/** Asks once before more calls than the person wants to make unasked. */
async function agreed(calls, config) {
  const { ask_above: most, ask_price: dearest } = store.forms.guard.peek();
  const tooDear = Number(dearest) > 0 && calls * priceOf(config) > Number(dearest);
  if (!(calls > Number(most)) && !tooDear) return true;
  const table = store.forms.plan.peek().prompt_table.trim();
  const lines = [t('page.run.askCalls', { count: calls }), costOf(calls, config)].filter(Boolean);
  const prompts = [{ label: t(table ? 'page.run.table' : 'page.prompt.used'), text: table || config.user_prompt }];
  return ask({ title: t('page.run.askTitle', { count: calls }), lines, prompts, confirm: t('page.start') });
}

/** Starts a batch from the forms; what was answered before under the same settings is not sent again. */
export const start = () =>
  deed(
    'start',
    async () => {
      const path = planParams().input_path;
      if (!path) {
        showError('plan', 'input_path', t('page.input.required'));
        return;
      }
      const config = settingsForRun();
      if (!config) return;
      if (store.inspectionStale.peek() || !store.inspection.peek()?.count) await inspect();
      const proposed = store.inspection.peek()?.proposes_project;
      if (proposed && store.mixed.peek() !== proposed.input_path) {
        const title = t(proposed.id ? 'page.project.openFor' : 'page.project.newFor', { name: proposed.name });
        const lines = [t('page.project.otherFolder'), t('page.project.startThere')];
        if (await ask({ title, lines, confirm: t('page.project.go') })) acceptProposal(proposed);
        return;
      }
      if (!(await agreed(store.inspection.peek()?.calls ?? 0, config))) return;
      const answer = await call('start_batch', { config, ...planParams() });
      pushRecent(store.recentPaths, path);
      await refresh();
      loadProjects().catch(() => undefined); // it may have its folder now, and so its name
      fillSettings();
      store.forms.plan.value = { ...store.forms.plan.peek(), fresh: false };
      inspect();
      if (answer.reused_count) {
        toast(t('page.run.reused', { count: answer.reused_count, fresh: answer.new_count }));
      }
      if (answer.unreadable_count) toast(t('page.run.leftOut', { count: answer.unreadable_count }));
      announce(t('page.run.started', { count: answer.new_count ?? answer.task_count }));
    },
    FORMS,
  );

export const stop = () =>
  deed('stop', async () => {
    await call('stop');
    announce(t('page.run.stopping'));
  });

/** Sends one picture again while a run is paused: one of those for which it paused, else one that failed. */
export const tryOne = () =>
  deed('try_one', async () => {
    const { suspects } = await call('list_suspects');
    let [id] = suspects.map((one) => one.task_id);
    if (!id) [{ id } = {}] = (await call('list_tasks', { status: 'failed', limit: 1 })).tasks;
    if (!id) return;
    await fresh(id);
    await retry(store.taskSignal(id).peek());
  });

/** Goes on with what was stopped, or at once with what is paused. */
export const resume = () =>
  deed(
    'resume',
    async () => {
      const { pending, stopped } = store.progress.peek();
      const paused = store.run.peek()?.paused;
      const config = await storeSettings();
      if (paused && !store.run.peek()?.paused) return; // the key that was stored has ended the pause
      if (!config || (!store.running.peek() && !(await agreed(pending + stopped, config)))) return;
      const { resumed_count: count } = await call('resume_tasks');
      toast(t('page.run.resumed', { count }));
    },
    FORMS,
  );

/** The prompt with which a task was asked last, as far as it is known. */
export const promptOf = (task) => task?.own_prompt ?? task?.results.at(-1)?.prompt ?? '';

/** Both texts where they differ: what the pictures were made with, and what will be asked with. */
function promptsFor(tasks) {
  const form = store.forms.config.peek().user_prompt;
  const own = tasks.find((task) => task.own_prompt !== null && task.own_prompt !== undefined);
  if (own) return [{ label: t('page.prompt.own'), text: own.own_prompt }];
  const before = tasks.map(promptOf).find((text) => text && text !== form);
  const now = { label: t('page.prompt.used'), text: form || t('page.prompt.none') };
  return before ? [{ label: t('page.prompt.before'), text: before }, now] : [now];
}

/** Asks before calls that are billed again, with the prompt that they will use. */
function askCalls(count, tasks, more = []) {
  const lines = [t('page.retry.callsAgain', { count }), costOf(count), ...more].filter(Boolean);
  return ask({
    title: t('page.retry.title', { count }),
    lines,
    prompts: promptsFor(tasks),
    confirm: t('page.retry.do'),
  });
}

/** Sends one picture again; `clear` drops its earlier results first. */
export const retry = (task, clear = false) =>
  deed(
    `retry ${task.id}`,
    async () => {
      const loss = clear && task.results.length ? [t('page.retry.clearLoss', { count: task.results.length })] : [];
      if (!settingsForRetry(task) || !(await askCalls(1, [task], loss)) || !(await storeForRetry(task))) return;
      await call(clear ? 'retry_task_clear' : 'retry_task', { task_id: task.id });
      announce(t('page.retry.started', { count: 1 }));
    },
    FORMS,
  );

/** A task with a prompt of its own needs none of the form. */
const settingsForRetry = (task) => (task?.own_prompt ? readSettings({ needed: NEEDED }) : settingsForRun());

async function storeForRetry(task) {
  const config = settingsForRetry(task);
  if (config && isDirty()) {
    await call('save_config', { config });
    await refresh();
    fillSettings();
  }
  return config;
}

const loaded = (where) => (where.task_ids ?? []).map((id) => store.taskSignal(id)?.peek()).filter(Boolean);

/** How many tasks `where` means now: the page's own counts of failures lag behind the list. */
const countOf = async ({ match, task_ids: ids }) =>
  ids ? ids.length : (await call('list_tasks', { ...match, limit: 1 })).total;

/** Sends tasks again, as they are or, with `clear`, without their earlier results. */
function retryMany(name, where, clear = false) {
  return deed(
    name,
    async () => {
      const count = await countOf(where);
      const tasks = loaded(where);
      const loss = clear ? [t('page.delete.allResults')] : [];
      if (!settingsForRetry(tasks[0]) || !(await askCalls(count, tasks, loss)) || !(await storeForRetry(tasks[0])))
        return;
      const { affected } = await call('bulk_tasks', { action: clear ? 'retry_clear' : 'retry', ...where });
      toast(t('page.retry.started', { count: affected }), { topic: 'retry' });
    },
    FORMS,
  );
}

export const bulkRetry = (clear = false) => retryMany('bulk_retry', target(), clear);
export const retryFailures = (failure) =>
  retryMany('retry_failed', { match: { status: 'failed', ...(failure ? { failure } : {}) } });

/** Lets the person write another prompt and sends these tasks with it; theirs from now on. */
export function retryWithPrompt(where, before) {
  return deed(
    'retry_prompt',
    async () => {
      const config = readSettings({ needed: NEEDED });
      if (!config) return;
      const text = await openDialog('prompt', { count: await countOf(where), before, config });
      if (!text?.trim()) return;
      await storeForRetry({ own_prompt: text });
      const { affected } = await call('bulk_tasks', { action: 'retry', user_prompt: text, ...where });
      toast(t('page.retry.started', { count: affected }), { topic: 'retry' });
    },
    FORMS,
  );
}

const formPrompt = () => store.forms.config.peek().user_prompt;

export const retryTaskWithPrompt = (task) => retryWithPrompt({ task_ids: [task.id] }, promptOf(task) || formPrompt());
export const bulkRetryWithPrompt = () => retryWithPrompt(target(), promptOf(loaded(target())[0]) || formPrompt());
export const retryFailuresWithPrompt = (failure) =>
  retryWithPrompt({ match: { status: 'failed', failure } }, formPrompt());

/** Deletes a task for good, after asking. */
export const deleteTask = (task) =>
  deed(`delete ${task.id}`, async () => {
    const title = t('page.delete.oneTitle', { name: task.source_name });
    const lines = lossLines({ results: task.results.length });
    if (!(await ask({ title, lines, confirm: t('page.delete.do'), danger: true }))) return;
    await call('delete_task', { task_id: task.id });
  });

/** Empties the list, after saying what is lost. */
export const clearTasks = () =>
  deed('clear', async () => {
    const { done, partial_success: partly, total } = store.progress.peek();
    const lines = [t('page.clear.tasks', { count: total })];
    const decided = store.facets.peek()?.only?.decided ?? done + partly;
    if (decided) lines.push(t('page.clear.judgements', { count: decided }));
    if (done + partly) lines.push(t('page.clear.picturesComeBack'));
    lines.push(t('page.delete.sourceStays'), t('page.clear.savedStay'));
    if (!(await ask({ title: t('page.clear.title'), lines, confirm: t('page.clear.do'), danger: true }))) return;
    await call('clear_tasks');
    forgetSteps();
    clearSelection();
  });
