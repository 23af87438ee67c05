// Owns the trial: prompts as columns, a few pictures as rows, the votes, and the column that is chosen for all.
import { call, knows } from './api.js';
import { deed } from './deed.js';
import { refresh } from './events.js';
import { fillSettings, readForm, readSettings, showError } from './form.js';
import { t } from './i18n.js';
import { inspect, planParams } from './inspect.js';
import { fresh, release } from './list.js';
import { toast, toastError } from './notices.js';
import * as store from './store.js';

const MOST = 8;
const LOOK_AGAIN = 700; // ms between two looks while it runs

/** Whether this program can try. */
export const canTry = () => knows('start_trial');

/** The columns to try: the prompt of the settings where nobody has written one. */
export function shownColumns() {
  const columns = store.columns.value;
  const written = columns.some((one) => one.user_prompt);
  return written
    ? columns
    : [{ ...columns[0], user_prompt: store.forms.config.value.user_prompt ?? '' }, ...columns.slice(1)];
}

export function enterPrompt(at, text) {
  store.columns.value = shownColumns().map((one, place) => (place === at ? { ...one, user_prompt: text } : one));
}

export function addColumn(text = '') {
  const columns = shownColumns();
  if (columns.length < MOST)
    store.columns.value = [...columns, { name: String(columns.length + 1), user_prompt: text }];
}

export function removeColumn(at) {
  const left = shownColumns().filter((_, place) => place !== at);
  store.columns.value = left.map((one, place) => ({ ...one, name: String(place + 1) }));
}

/** Stars a prompt, so that it stays in the library. */
export function star(text) {
  const known = store.library.peek().find((one) => one.text === text);
  const others = store.library.peek().filter((one) => one.text !== text);
  store.library.value = [{ text, starred: !known?.starred }, ...others].filter((one) => one.starred).slice(0, 200);
}

export const isStarred = (text) => store.library.value.some((one) => one.text === text && one.starred);

/** How many calls a trial makes at most. */
export const trialCalls = () => shownColumns().length * (Number(store.forms.trial.value.sample) || 0);

/** Draws pictures and asks for each with each column's prompt. */
export const startTrial = () =>
  deed(
    'trial',
    async () => {
      const { input_path } = planParams();
      const [config, form] = [readSettings({ needed: ['api_url', 'model_name'] }), readForm('trial')];
      if (!config || !form) return;
      if (!input_path) {
        showError('plan', 'input_path', t('page.input.required'));
        return;
      }
      const columns = shownColumns();
      const empty = columns.findIndex((one) => !one.user_prompt.trim());
      if (empty >= 0) {
        toast(t('page.trial.noPrompt', { n: empty + 1 }), { kind: 'error', topic: 'trial' });
        document.getElementById(`column-${empty}`)?.focus();
        return;
      }
      await call('save_config', { config });
      await refresh();
      fillSettings();
      const { trial_id: id } = await call('start_trial', { input_path, ...form, columns });
      store.trialRow.value = 0;
      await loadTrial(id);
    },
    ['trial', 'plan', 'config'],
  );

/** Takes up the last trial that there is. */
export async function openTrial() {
  if (!canTry() || store.trial.peek()) return;
  const { trials } = await call('list_trials');
  const last = trials?.[0];
  if (last) await loadTrial(last.id ?? last.trial_id ?? last);
}

/** Shows a trial as it is now, and its tasks; again while it runs. */
export async function loadTrial(id) {
  const stands = store.asked.trial();
  const found = await call('get_trial', { id });
  const tasks = await Promise.all(found.rows.flatMap((row) => row.cells.filter(Boolean)).map(fresh));
  if (!stands()) return;
  store.trial.value = { ...found, id };
  const open = tasks.some((task) => task && ['pending', 'processing'].includes(task.status));
  if (open) setTimeout(() => stands() && loadTrial(id).catch(toastError), LOOK_AGAIN);
}

/** Votes for the best column of a row, or for none; on to the next row. */
export const vote = (row, column) =>
  deed(`vote ${row}`, async () => {
    const trial = store.trial.peek();
    await call('vote_trial', { id: trial.id, row, column });
    const rows = trial.rows.map((one, at) => (at === row ? { ...one, vote: column, voted: true } : one));
    store.trial.value = { ...store.trial.peek(), rows };
    if (row === store.trialRow.peek()) moveRow(1);
    await loadTrial(trial.id);
  });

export function moveRow(by) {
  const last = (store.trial.peek()?.rows.length ?? 1) - 1;
  store.trialRow.value = Math.min(last, Math.max(0, store.trialRow.peek() + by));
}

/** Makes a column the configuration and starts the rest with it. */
export const chooseColumn = (column) =>
  deed(
    'choose',
    async () => {
      await call('choose_column', { id: store.trial.peek().id, column });
      await refresh();
      fillSettings();
      store.place.value = 'run';
      inspect();
    },
    ['config', 'plan'],
  );

/** Forgets the trial that is shown. */
export const deleteTrial = () =>
  deed('trial', async () => {
    const { id, rows } = store.trial.peek();
    await call('delete_trial', { id });
    rows.flatMap((row) => row.cells).forEach((one) => one && release(one));
    store.trial.value = null;
  });
