// Owns decisions about results: tick, untick, drop, restore, one by one or many at once, each as an undoable step.
import { call } from './api.js';
import { t } from './i18n.js';
import { clearSelection, match, range, readAgain } from './list.js';
import { ask } from './notices.js';
import * as store from './store.js';
import { perform } from './undo.js';

const REMEMBER = 5000; // tasks whose state is kept for undo

/** Results that count, each with its number as a person sees it. */
export const kept = (task) => task.results.filter((result) => !result.deleted);

const last = new Map(); // result id → the call under way: one after the other, so that the last wish wins

function inTurn(taskId, resultId, work) {
  const turn = (last.get(resultId) ?? Promise.resolve()).catch(() => undefined).then(work);
  last.set(resultId, turn);
  const done = async () => {
    const isLast = () => last.get(resultId) === turn;
    if (isLast()) await readAgain(taskId); // events may still tell of earlier wishes: the task as it is comes before them
    if (!isLast()) return;
    last.delete(resultId);
    store.wish(taskId, resultId, null);
  };
  turn.then(done, done);
  return turn;
}

/** A result as the last wish leaves it: what is drawn, and so what the key was pressed on, may be a moment older. */
const now = (taskId, result) => store.taskSignal(taskId)?.peek().results.find((one) => one.id === result.id) ?? result;

async function wish(taskId, resultId, change, work) {
  store.wish(taskId, resultId, change);
  try {
    await inTurn(taskId, resultId, work);
  } catch (error) {
    store.wish(taskId, resultId, null);
    throw error;
  }
}

async function setTicked(taskId, resultId, selected) {
  const ids = { task_id: taskId, result_id: resultId };
  await wish(taskId, resultId, { selected }, async () => {
    const answer = await call('toggle_result', ids);
    if (answer.selected !== selected) await call('toggle_result', ids); // it was so already: somebody else was faster
  });
}

async function setDropped(taskId, resultId, deleted) {
  const ids = { task_id: taskId, result_id: resultId };
  await wish(taskId, resultId, { deleted }, () => call(deleted ? 'delete_result' : 'restore_result', ids));
}

/** Ticks or unticks one result. */
export function toggle(task, result) {
  const want = !now(task.id, result).selected;
  return perform({
    label: t(want ? 'page.step.tick' : 'page.step.untick', { name: task.source_name }),
    redo: () => setTicked(task.id, result.id, want),
    undo: () => setTicked(task.id, result.id, !want),
  });
}

/** Drops one result, or takes a dropped one back. */
export function drop(task, result) {
  const want = !now(task.id, result).deleted;
  return perform({
    label: t(want ? 'page.step.drop' : 'page.step.restore', { name: task.source_name }),
    redo: () => setDropped(task.id, result.id, want),
    undo: () => setDropped(task.id, result.id, !want),
  });
}

/** Ticks or unticks all results of one task. */
export function toggleAll(task) {
  const results = kept(task).map((result) => now(task.id, result));
  const want = !results.every((result) => result.selected);
  const turned = results.filter((result) => result.selected !== want);
  return perform({
    label: t(want ? 'page.step.tick' : 'page.step.untick', { name: task.source_name }),
    redo: () => Promise.all(turned.map((result) => setTicked(task.id, result.id, want))),
    undo: () => Promise.all(turned.map((result) => setTicked(task.id, result.id, !want))),
  });
}

/** Notes that a task's results are good as they are, or takes that back. */
export async function setDecided(taskId, decided) {
  const known = store.taskSignal(taskId);
  if (known) known.value = { ...known.peek(), decided };
  await call('bulk_tasks', { action: decided ? 'decide' : 'undecide', task_ids: [taskId] });
}

/** What is selected, as bulk operations take it. */
export function target() {
  return store.selectedAll.peek() ? { match: match() } : { task_ids: [...store.selection.peek()] };
}

async function selectedTasks() {
  if (store.selectedAll.peek()) return range(0, (store.total.peek() ?? 0) - 1);
  const ids = [...store.selection.peek()];
  return Promise.all(ids.map(async (id) => store.taskSignal(id)?.peek() ?? (await call('get_task', { task_id: id })).task));
}

/** Ticks, unticks, drops or restores all results of what is selected, or notes it as decided about. */
export async function bulkDecide(action) {
  const count = store.selectionCount.peek();
  const where = target();
  const undoable = count <= REMEMBER;
  if (!undoable && !(await ask({ title: t(`page.bulk.${action}`), lines: [t('page.bulk.many', { count }), t('page.bulk.noUndo')] }))) return;
  const before = undoable ? await selectedTasks() : [];
  const redo = () => call('bulk_tasks', { action, ...where });
  if (!undoable) {
    await redo();
    return;
  }
  const waiting = before.filter((task) => !task.decided).map((task) => task.id);
  const undo = action === 'decide' ? () => call('bulk_tasks', { action: 'undecide', task_ids: waiting }) : () => putBack(before);
  await perform({ label: t(`page.step.bulk.${action}`, { count }), redo, undo });
}

/** Brings many tasks' results back to how they were: whole tasks in bulk, mixed ones result by result. */
async function putBack(before) {
  const groups = { tick: [], untick: [], drop: [], restore: [] };
  const single = [];
  for (const task of before.filter((one) => one.results.length)) {
    const dropped = task.results.map((result) => result.deleted);
    const ticked = task.results.map((result) => result.selected);
    if (new Set(dropped).size > 1) single.push(task);
    else groups[dropped[0] ? 'drop' : 'restore'].push(task.id);
    if (new Set(ticked).size > 1) single.push(task);
    else groups[ticked[0] ? 'tick' : 'untick'].push(task.id);
  }
  for (const [action, ids] of Object.entries(groups)) {
    if (ids.length) await call('bulk_tasks', { action, task_ids: ids });
  }
  for (const task of new Set(single)) await putBackOne(task);
}

async function putBackOne(task) {
  const { task: now } = await call('get_task', { task_id: task.id });
  for (const result of task.results) {
    const present = now.results.find((one) => one.id === result.id);
    if (!present) continue;
    const ids = { task_id: task.id, result_id: result.id };
    if (present.deleted !== result.deleted) await call(result.deleted ? 'delete_result' : 'restore_result', ids);
    if (present.selected !== result.selected) await call('toggle_result', ids);
  }
}

/** Deletes what is selected for good, after asking. */
export async function bulkDelete() {
  const count = store.selectionCount.peek();
  const where = target();
  if (!(await ask({ title: t('page.delete.title', { count }), lines: lossLines(await lossOf(where)), confirm: t('page.delete.do'), danger: true }))) return false;
  await call('bulk_tasks', { action: 'delete', ...where });
  clearSelection();
  return true;
}

async function lossOf(where) {
  if (where.match) return store.filtered.peek() ? null : { results: null };
  const tasks = where.task_ids.map((id) => store.taskSignal(id)?.peek()).filter(Boolean);
  return { results: tasks.reduce((sum, task) => sum + task.results.length, 0) };
}

/** Sentences on what deleting loses. */
export function lossLines(loss) {
  const lines = [];
  if (loss?.results) lines.push(t('page.delete.results', { count: loss.results }));
  else if (!loss || loss.results === null) lines.push(t('page.delete.allResults'));
  lines.push(t('page.delete.sourceStays'));
  return lines;
}
