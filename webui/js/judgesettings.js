// Owns the judge's connection and rubrics: asked for once, stored, held against the person's own decisions.
import { call, knows } from './api.js';
import { deed } from './deed.js';
import { fillSettings, readSettings, setError } from './form.js';
import { money, t } from './i18n.js';
import { ask, toast } from './notices.js';
import * as store from './store.js';

const FORMS = ['judge'];

export const knowsJudge = () => knows('get_judge');

/** Reads the judge's settings, its rubrics and how far it agrees; `fill`: the form too. */
export async function loadJudge(fill = false) {
  const [{ config }, { rubrics }, report] = await Promise.all(
    ['get_judge', 'list_rubrics', 'judge_report'].map((one) => call(one)),
  );
  const first = store.rubrics.peek() === null;
  store.judge.value = config;
  store.rubrics.value = rubrics;
  store.judgeReport.value = report;
  const choices = rubrics.map((one) => one.name);
  store.specs.judge.value = store.specs.judge
    .peek()
    .map((spec) => (spec.name === 'rubric' ? { ...spec, type: 'choice', choices } : spec));
  if (fill || first) fillSettings(null, 'judge');
}

export const openJudge = () => deed('judge', () => loadJudge());

export const saveJudge = (more = {}) =>
  deed(
    'save_judge',
    async () => {
      const config = readSettings({ form: 'judge', needed: ['api_url', 'model_name'] });
      if (!config) return;
      await call('save_judge', { config: { ...config, ...more } });
      await loadJudge(true);
      toast(t('page.config.saved'));
    },
    FORMS,
  );

/** Judges one result, to see whether the judge reads pictures and answers as it is asked; a call that is paid. */
export const judgeOne = () =>
  deed(
    'judge_one',
    async () => {
      const { tasks } = await call('list_tasks', { status: 'done', limit: 1 });
      if (!tasks.length) {
        setError('judge', 'model_name', t('judge.noResults'));
        return;
      }
      await call('judge_results', { task_ids: [tasks[0].id], again: true });
    },
    FORMS,
  );

/** Judges what is not judged yet, after saying how many calls that makes at most. */
export const judgeRest = () =>
  deed(
    'judge_rest',
    async () => {
      const { calls, reused } = await call('judge_results', { dry_run: true });
      const price = Number(store.judge.peek().price_per_call) || 0;
      const lines = [t('judge.askCalls', { count: calls }), reused && t('judge.known', { count: reused })];
      if (price) lines.push(t('page.retry.price', { price: money(price * calls) }));
      const title = t('judge.restTitle', { count: calls });
      if (!(await ask({ title, lines: lines.filter(Boolean), confirm: t('judge.rest') }))) return;
      await call('judge_results', {});
    },
    FORMS,
  );

/** Keeps a rubric of one's own. */
export const saveRubric = (rubric) =>
  deed('rubric', async () => {
    await call('save_rubric', { rubric });
    await loadJudge();
    store.forms.judge.value = { ...store.forms.judge.peek(), rubric: rubric.name };
    store.rubric.value = null;
  });

export const deleteRubric = (name) =>
  deed('rubric', async () => {
    const title = t('judge.rubric.deleteTitle', { name });
    if (!(await ask({ title, confirm: t('page.delete.do'), danger: true }))) return;
    await call('delete_rubric', { name });
    await loadJudge(true);
  });
