// Owns decisions about results: tick, drop, keep, reject, one by one or many at once, each as an undoable step.
import { call } from './api.js';
import { t } from './i18n.js';
import { clearSelection, match, range } from './list.js';
import { ask } from './notices.js';
import * as store from './store.js';
import { perform } from './undo.js';

/** Results that count. */
export const kept = (task) => task.results.filter((result) => !result.deleted);

/** A task as the last decision leaves it: what is drawn, and so what a key was pressed on, may be a moment older. */
const now = (task) => store.taskSignal(task.id)?.peek() ?? task;

/** A mark that sets `values` on some results of a task. */
const markOf = (task, ticked, dropped, decided) => ({ task_id: task.id, ticked, dropped, decided });
const valuesOf = (results, value) => Object.fromEntries(results.map((one) => [one.id, value(one)]));

/** The step that brings results of a task to `ticked` and `dropped` (by result id, where they change). */
function stepOf(task, { ticked = {}, dropped = {}, decided = true }) {
  const touched = (values) => task.results.filter((one) => one.id in values);
  const before = markOf(
    task,
    valuesOf(touched(ticked), (one) => one.selected),
    valuesOf(touched(dropped), (one) => one.deleted),
    decided === null ? null : task.decided,
  );
  return { before, after: markOf(task, ticked, dropped, decided) };
}

function decide(label, task, change) {
  const { before, after } = stepOf(task, change);
  return perform({ label: t(label, { name: task.source_name }), before: [before], after: [after] });
}

/** Ticks or unticks one result. */
export function toggle(task, result) {
  const present = now(task);
  const want = !present.results.find((one) => one.id === result.id)?.selected;
  return decide(want ? 'page.step.tick' : 'page.step.untick', present, { ticked: { [result.id]: want } });
}

/** Drops one result, or takes a dropped one back. */
export function drop(task, result) {
  const present = now(task);
  const want = !present.results.find((one) => one.id === result.id)?.deleted;
  return decide(want ? 'page.step.drop' : 'page.step.restore', present, { dropped: { [result.id]: want } });
}

/** Ticks or unticks all results of one task. */
export function toggleAll(task) {
  const present = now(task);
  const want = !kept(present).every((result) => result.selected);
  return decide(want ? 'page.step.tick' : 'page.step.untick', present, { ticked: valuesOf(kept(present), () => want) });
}

/** Keeps one result of several: it is ticked, the others are not. */
export function keepOne(task, result) {
  const present = now(task);
  const ticked = valuesOf(present.results, (one) => one.id === result.id);
  return decide('page.step.keepOne', present, { ticked, dropped: result.deleted ? { [result.id]: false } : {} });
}

/** Drops all results of a task; where all are dropped, takes them back. Whether it was rejected. */
export function reject(task) {
  const present = now(task);
  const left = kept(present);
  const wanted = left.length ? left : present.results;
  const label = left.length ? 'page.step.reject' : 'page.step.restore';
  decide(label, present, { dropped: valuesOf(wanted, () => left.length > 0), decided: left.length > 0 });
  return left.length > 0;
}

/** Notes that a task's results are good as they are, or that they are not decided about. */
export const setDecided = (task, decided) =>
  decide(decided ? 'page.step.accept' : 'page.step.undecide', now(task), { decided });

/* ---- many at once ---- */

/** What is selected, as bulk operations take it. */
export function target() {
  return store.selectedAll.peek() ? { match: match() } : { task_ids: [...store.selection.peek()] };
}

async function selectedTasks() {
  if (store.selectedAll.peek()) return range(0, (store.total.peek() ?? 0) - 1);
  const ids = [...store.selection.peek()];
  return Promise.all(
    ids.map(async (id) => store.taskSignal(id)?.peek() ?? (await call('get_task', { task_id: id })).task),
  );
}

const BULK = {
  tick: (task) => ({ ticked: valuesOf(task.results, () => true), decided: null }),
  untick: (task) => ({ ticked: valuesOf(task.results, () => false) }),
  drop: (task) => ({ dropped: valuesOf(task.results, () => true) }),
  restore: (task) => ({ dropped: valuesOf(task.results, () => false), decided: false }),
  decide: () => ({}),
};

/** Ticks, unticks, drops or restores all results of these tasks, or notes them as decided about; one step. */
export function decideMany(action, tasks) {
  const steps = tasks.filter((task) => task.results.length).map((task) => stepOf(task, BULK[action](task)));
  const label = t(`page.step.bulk.${action}`, { count: steps.length });
  return perform({ label, before: steps.map((one) => one.before), after: steps.map((one) => one.after) });
}

/** The same for what is selected. */
export const bulkDecide = async (action) => decideMany(action, await selectedTasks());

/** Unticks some results of some tasks, as one step; how many were ticked. */
export async function untickResults(wanted) {
  const ids = [...new Set(wanted.map((one) => one.task_id))];
  const results = new Set(wanted.map((one) => one.result_id));
  const found = await Promise.all(ids.map(async (id) => (await call('get_task', { task_id: id })).task));
  const steps = found.flatMap((task) => {
    const ticked = task.results.filter((one) => results.has(one.id) && one.selected);
    return ticked.length ? [{ ...stepOf(task, { ticked: valuesOf(ticked, () => false) }), count: ticked.length }] : [];
  });
  const count = steps.reduce((sum, one) => sum + one.count, 0);
  const label = t('page.step.bulk.untick', { count: steps.length });
  if (count) await perform({ label, before: steps.map((one) => one.before), after: steps.map((one) => one.after) });
  return count;
}

/** Deletes what is selected for good, after asking. */
export async function bulkDelete() {
  const count = store.selectionCount.peek();
  const where = target();
  const lines = lossLines(lossOf(where));
  const title = t('page.delete.title', { count });
  if (!(await ask({ title, lines, confirm: t('page.delete.do'), danger: true }))) return false;
  await call('bulk_tasks', { action: 'delete', ...where });
  clearSelection();
  return true;
}

function lossOf(where) {
  if (where.match) return null;
  const tasks = where.task_ids.map((id) => store.taskSignal(id)?.peek()).filter(Boolean);
  return { results: tasks.reduce((sum, task) => sum + task.results.length, 0) };
}

/** Sentences on what deleting loses; null where the number of results is not known. */
export function lossLines(loss) {
  const lines = [];
  if (loss?.results) lines.push(t('page.delete.results', { count: loss.results }));
  else if (!loss) lines.push(t('page.delete.allResults'));
  lines.push(t('page.delete.sourceStays'));
  return lines;
}
