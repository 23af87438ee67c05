// Owns the trial: prompts as columns, a few pictures as rows, the votes, and the column that is chosen for all.
// The columns that are written and those of the trial that is shown belong together by their names.
import { call, knows } from './api.js';
import { deed } from './deed.js';
import { refresh } from './events.js';
import { fillSettings, readForm, readSettings, showError } from './form.js';
import { money, t } from './i18n.js';
import { inspect, planParams } from './inspect.js';
import { noteUse } from './library.js';
import { release } from './list.js';
import { ask, openDialog, toast, toastError } from './notices.js';
import * as store from './store.js';

export const MOST = 8;
const LOOK_AGAIN = 700; // ms between two looks while it runs
const OPEN = ['pending', 'processing'];

/** Whether this program can try. */
export const canTry = () => knows('start_trial');

/* ---- columns ---- */

/** The columns as written; the prompt of the settings where nobody has written one. */
export function writtenColumns() {
  const columns = store.columns.value;
  if (columns.some((one) => one.user_prompt)) return columns;
  const first = columns[0] ?? { name: '1' };
  return [{ ...first, user_prompt: store.forms.config.value.user_prompt ?? '' }, ...columns.slice(1)];
}

/** The same as shown: while no trial stands below, an empty one waits at the end for the next prompt. */
export function shownColumns() {
  const columns = writtenColumns();
  const free = !store.trial.value && columns.length < MOST && columns.every((one) => one.user_prompt.trim());
  return free ? [...columns, { name: freeName(columns), user_prompt: '' }] : columns;
}

const freeName = (columns) => String(1 + Math.max(0, ...columns.map((one) => Number(one.name) || 0)));

const put = (name, change) => {
  store.columns.value = shownColumns().map((one) => (one.name === name ? { ...one, ...change } : one));
};

export const enterPrompt = (name, text) => put(name, { user_prompt: text });

/** Adds a column, with a prompt where one is given; an empty one is filled first. */
export function addColumn(text = '') {
  const columns = shownColumns();
  const empty = columns.find((one) => !one.user_prompt.trim());
  if (text && empty) put(empty.name, { user_prompt: text });
  else if (columns.length < MOST) store.columns.value = [...columns, { name: freeName(columns), user_prompt: text }];
}

export function removeColumn(name) {
  store.columns.value = writtenColumns().filter((one) => one.name !== name);
}

/** Lets the person give a column another connection, model or parameters. */
export async function editColumn(column) {
  const answer = await openDialog('column', { column });
  if (answer) put(column.name, answer);
}

/** The configuration that a column asks with, as far as the page knows it. */
export const configOf = (column) => ({
  ...(store.presets.value[column.preset] ?? store.forms.config.value),
  ...column.config,
});

/** The place of a written column in the trial that is shown; -1 where it is new. */
export const placeIn = (trial, column) => trial?.columns.findIndex((one) => one.name === column.name) ?? -1;

/** Whether a column was changed since the trial that is shown. */
export function isChanged(trial, column) {
  const asked = trial?.columns[placeIn(trial, column)];
  return Boolean(asked) && asked.user_prompt !== column.user_prompt;
}

/* ---- calls and costs ---- */

/** Calls that the trial as written makes at most: cells that are paid for already are left out. */
export function trialCalls() {
  const trial = store.trial.value;
  const found = store.inspection.value?.count ?? Infinity;
  const sample = Math.min(Number(store.forms.trial.value.sample) || 0, found);
  const same = trial && trial.input_path === planParams().input_path && trial.seed === seedNow();
  const columns = writtenColumns().filter((one) => one.user_prompt.trim());
  const paid = columns.map((column) => {
    const known = same && !isChanged(trial, column) ? trial.columns[placeIn(trial, column)] : null;
    return known && trial.rows.length === sample ? known.done : 0;
  });
  return columns.map((column, at) => ({ column, calls: Math.max(0, sample - paid[at]) }));
}

const seedNow = () => Number(store.forms.trial.value.seed) || 0;

/** The price of calls by column, '' where no column has one. */
export function priceOf(parts) {
  const sum = parts.reduce(
    (total, { column, calls }) => total + calls * (Number(configOf(column).price_per_call) || 0),
    0,
  );
  return sum ? t('page.cost.about', { price: money(sum) }) : '';
}

/** Calls that are missing when a column is run on everything. */
export function missingCalls(column) {
  const all = store.inspection.value?.count ?? 0;
  return Math.max(0, all - column.done);
}

/* ---- the trial itself ---- */

const asked = ({ name, user_prompt, preset, config }) => ({ name, user_prompt, preset: preset || null, config });

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
      const columns = writtenColumns().filter((one) => one.user_prompt.trim());
      if (!columns.length) {
        toast(t('page.trial.noPrompt'), { kind: 'error', topic: 'trial' });
        document.querySelector('.trial thead textarea')?.focus();
        return;
      }
      // who has tried a prompt and goes on finds it there
      const user_prompt = config.user_prompt?.trim() ? config.user_prompt : columns[0].user_prompt;
      await call('save_config', { config: { ...config, user_prompt } });
      await refresh();
      fillSettings();
      const { trial_id: id } = await call('start_trial', { input_path, ...form, columns: columns.map(asked) });
      noteUse(columns.map((one) => one.user_prompt));
      store.columns.value = columns;
      store.trialRow.value = 0;
      await loadTrial(id);
      document.querySelector('.trial-scroll')?.focus(); // for the keys that vote
    },
    ['trial', 'plan', 'config'],
  );

/** Draws other pictures: another seed. */
export function drawAnew() {
  store.forms.trial.value = { ...store.forms.trial.peek(), seed: String(1 + Math.floor(Math.random() * 9999)) };
}

/** Takes up the trial that was shown, or the last one that there is. */
export async function openTrial() {
  if (!canTry()) return;
  await listTrials();
  const shown = store.trials.peek().find((one) => one.id === store.trial.peek()?.id);
  const last = shown ?? store.trials.peek()[0];
  if (last) await loadTrial(last.id);
  else store.trial.value = null;
}

export async function listTrials() {
  store.trials.value = (await call('list_trials')).trials;
}

/** Shows an earlier trial with the prompts that it asked with. */
export const showTrial = (id) =>
  deed('trial', async () => {
    store.trialRow.value = 0;
    await loadTrial(id);
    takeColumns(store.trial.peek());
  });

/** Writes the columns as a trial has them; `others` stay behind them. */
function takeColumns(trial, others = []) {
  const model = store.forms.config.peek().model_name;
  const known = store.columns.peek();
  const own = trial.columns.map((one) => {
    const same = known.find((other) => other.name === one.name && other.user_prompt === one.user_prompt);
    const config = one.model_name === model ? undefined : { model_name: one.model_name };
    return same ?? { name: one.name, user_prompt: one.user_prompt, config };
  });
  const texts = own.map((one) => one.user_prompt);
  store.columns.value = [...own, ...others.filter((one) => !texts.includes(one.user_prompt))].slice(0, MOST);
}

/** Shows a trial as it is now, and its tasks; again while it runs. */
export async function loadTrial(id) {
  const stands = store.asked.trial();
  const found = await call('get_trial', { id });
  const cells = found.rows.flatMap((row) => row.cells);
  await Promise.all(cells.filter(isOpen).map(readTask));
  if (!stands()) return;
  store.trial.value = found;
  const written = store.columns.peek().filter((one) => one.user_prompt.trim());
  if (!written.some((one) => placeIn(found, one) >= 0)) takeColumns(found, written);
  measure(found, stands).catch(() => undefined); // the pictures stand without numbers too
  if (cells.some(isOpen) || !found.done) {
    setTimeout(() => stands() && loadTrial(id).catch(toastError), LOOK_AGAIN);
  } else if (store.trials.peek()[0]?.id !== id) listTrials().catch(toastError);
}

/** Whether a cell may still change: nothing is known of it, it is being asked, or scores may come. */
function isOpen(id) {
  const task = store.taskSignal(id)?.peek();
  return !task || OPEN.includes(task.status);
}

async function readTask(id) {
  try {
    store.putTask((await call('get_task', { task_id: id })).task);
  } catch (error) {
    if (error.code !== 'task_unknown') throw error;
  }
}

/** Reads all cells again: the judge has scored them. */
export async function readScores() {
  const trial = store.trial.peek();
  if (!trial) return;
  await Promise.all(trial.rows.flatMap((row) => row.cells).map(readTask));
  await loadTrial(trial.id);
}

/** Measures the rows whose pictures are all there, one after the other. */
async function measure(trial, stands) {
  for (const [at, row] of trial.rows.entries()) {
    if (row.cells.some(isOpen) || row.cells.every((id) => id in store.trialNumbers.peek())) continue;
    const { cells } = await call('measure_row', { id: trial.id, row: at });
    const none = Object.fromEntries(row.cells.map((id) => [id, null]));
    const found = Object.fromEntries(cells.map((one) => [one.task_id, one]));
    store.trialNumbers.value = { ...store.trialNumbers.peek(), ...none, ...found };
    if (!stands()) return;
  }
}

/** Votes for the best column of a row, or for none; on to the next row. */
export function vote(row, column) {
  const trial = store.trial.peek();
  if (!trial?.rows[row]) return undefined;
  const rows = trial.rows.map((one, at) => (at === row ? { ...one, vote: column, voted: true } : one));
  store.trial.value = { ...trial, rows };
  if (row === store.trialRow.peek()) moveRow(1);
  const stands = store.asked.trial(); // what is on its way knows nothing of this vote
  const turn = store.memory.moving.then(async () => {
    await call('vote_trial', { id: trial.id, row, column });
    if (stands()) await loadTrial(trial.id);
  });
  store.memory.moving = turn.catch(toastError);
  return turn;
}

export function moveRow(by) {
  const last = (store.trial.peek()?.rows.length ?? 1) - 1;
  store.trialRow.value = Math.min(last, Math.max(0, store.trialRow.peek() + by));
}

/** Makes a column the configuration, and goes to where the rest is started with it. */
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

/** Forgets the trial that is shown; what it paid for stays known. */
export const deleteTrial = () =>
  deed('trial', async () => {
    const { id, rows } = store.trial.peek();
    const lines = [t('page.trial.deleteLoss'), t('page.trial.deletePaid')];
    if (!(await ask({ title: t('page.trial.deleteTitle'), lines, confirm: t('page.delete.do'), danger: true }))) return;
    store.asked.trial(); // what is on its way would ask for tasks that are gone
    store.trial.value = null;
    await call('delete_trial', { id });
    rows.flatMap((row) => row.cells).forEach((one) => release(one));
    await openTrial();
  });
