// Owns which tasks of a long list are loaded: pages fetched on demand, kept in step, dropped when far away.
import { batch } from '@preact/signals';
import { ApiError, call } from './api.js';
import * as store from './store.js';

const PAGE = 100;
const KEEP = 40; // pages
const SETTLE = 60; // ms without scrolling before pages in passing are asked for
const CATCH_UP = 1200; // ms between two looks at a filtered list that changes

const { list } = store.memory;

/** Parameters of the present filter, as list_tasks and `match` take them. */
export function match() {
  const params = {};
  for (const part of Object.keys(store.NO_FILTER)) {
    const value = store.filter.value[part];
    if (value.length) params[part] = typeof value === 'string' ? value : value.join(',');
  }
  return params;
}

function queryParams(offset, limit) {
  const { sort, desc } = store.filter.peek();
  return { ...match(), sort, desc: desc ? 1 : 0, offset, limit };
}

/** Id of the task at `index`, or undefined where its page is not loaded. */
export function idAt(index) {
  return store.pages.value.get(Math.floor(index / PAGE))?.[index % PAGE];
}

/** Says which indexes are in sight; missing pages are asked for, at once or when scrolling rests. */
export function see(first, last, { hurry = false } = {}) {
  list.inSight = [first, last];
  clearTimeout(list.settleTimer);
  if (hurry || list.underway.size === 0) load();
  else list.settleTimer = setTimeout(load, SETTLE);
}

function load() {
  const [from, to] = list.inSight.map((index) => Math.floor(Math.max(0, index) / PAGE));
  for (const [page, controller] of list.underway) {
    if (page < from || page > to) {
      controller.abort();
      list.underway.delete(page);
    }
  }
  for (let page = from; page <= to; page += 1) {
    if (!store.pages.peek().has(page) && !list.underway.has(page)) fetchPage(page);
  }
}

async function fetchPage(page) {
  const stands = list.stands;
  const controller = new AbortController();
  list.underway.set(page, controller);
  try {
    const answer = await call('list_tasks', queryParams(page * PAGE, PAGE), { signal: controller.signal });
    if (!stands()) return;
    batch(() => {
      store.listError.value = null;
      keepPage(page, answer);
    });
  } catch (error) {
    if (error.name !== 'AbortError' && stands()) store.listError.value = error;
  } finally {
    if (list.underway.get(page) === controller) list.underway.delete(page);
  }
}

function keepPage(page, answer) {
  answer.tasks.forEach(store.putTask);
  const pages = new Map(store.pages.peek());
  pages.set(
    page,
    answer.tasks.map((task) => task.id),
  );
  store.total.value = answer.total;
  store.pages.value = dropFar(pages);
  growSlots(answer.tasks);
}

/** Makes room for as many results as most of these tasks have; never less, so that nothing jumps back. */
export function growSlots(tasks) {
  const tally = [0, 0, 0, 0, 0];
  for (const task of tasks) tally[Math.min(4, task.results.length)] += 1;
  const most = Math.max(...tally.slice(1));
  const usual = most ? tally.lastIndexOf(most) : 1;
  if (usual > store.slots.peek()) store.slots.value = usual;
}

function dropFar(pages) {
  if (pages.size <= KEEP) return pages;
  const middle = (list.inSight[0] + list.inSight[1]) / 2 / PAGE;
  const nearest = [...pages.keys()].sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle)).slice(0, KEEP);
  const kept = new Map(nearest.map((page) => [page, pages.get(page)]));
  const ids = new Set([...kept.values()].flat());
  const inReview = store.review.peek()?.id;
  for (const id of store.tasks.keys())
    if (!ids.has(id) && id !== inReview && id !== store.debugTask.peek()) store.tasks.delete(id);
  return kept;
}

/** Starts the list anew from its top: another filter, another list. */
export function reload() {
  list.stands = store.asked.list();
  abortAll();
  batch(() => {
    store.pages.value = new Map();
    store.shift.value = { by: 0, at: Date.now(), top: true };
    store.focusIndex.value = 0;
  });
  list.inSight = [0, PAGE - 1];
  return fetchPage(0);
}

function abortAll() {
  for (const controller of list.underway.values()) controller.abort();
  list.underway = new Map();
}

/** Sets part of the filter and shows the list that it gives. */
export function setFilter(part) {
  batch(() => {
    store.filter.value = { ...store.filter.peek(), ...part };
    clearSelection();
  });
  return reload();
}

/** Forgets what is selected. */
export function clearSelection() {
  store.selection.value = new Set();
  store.selectedAll.value = false;
  store.selectionAnchor.value = null;
}

/** Looks again at what is in sight, soon; the row on top stays where the reader has it. */
export function catchUp(now = false) {
  if (list.catchUpTimer && !now) return;
  clearTimeout(list.catchUpTimer);
  list.catchUpTimer = setTimeout(
    async () => {
      list.catchUpTimer = 0;
      if (store.review.peek())
        catchUp(); // the order stays as it is while one goes through it
      else await lookAgain();
    },
    now ? 0 : CATCH_UP,
  );
}

/** Looks again at what is in sight, at once. */
export function lookNow() {
  return lookAgain();
}

async function lookAgain() {
  const stands = (list.stands = store.asked.list());
  abortAll();
  const first = Math.floor(list.inSight[0] / PAGE);
  const last = Math.max(first, Math.floor(list.inSight[1] / PAGE));
  const before = idsFrom(list.inSight[0], list.inSight[1]);
  try {
    const answers = await Promise.all(
      Array.from({ length: last - first + 1 }, (_, n) => call('list_tasks', queryParams((first + n) * PAGE, PAGE))),
    );
    if (!stands()) return;
    const pages = new Map();
    answers.forEach((answer, n) => {
      answer.tasks.forEach(store.putTask);
      pages.set(
        first + n,
        answer.tasks.map((task) => task.id),
      );
    });
    batch(() => {
      store.shift.value = { by: movedBy(before, pages), at: Date.now() };
      store.total.value = answers[0].total;
      store.pages.value = pages;
      growSlots(answers.flatMap((answer) => answer.tasks));
    });
    forgetGone(new Set([...pages.values()].flat()));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (stands()) store.listError.value = error;
  }
}

/** Lets go of deleted tasks; one that was deleted while the list was read is `shown` until it is read again. */
function forgetGone(shown) {
  for (const id of store.memory.gone) {
    if (shown.has(id)) continue;
    store.tasks.delete(id);
    store.memory.gone.delete(id);
  }
}

function idsFrom(first, last) {
  const ids = [];
  for (let index = first; index <= last; index += 1) {
    const id = store.pages.peek().get(Math.floor(index / PAGE))?.[index % PAGE];
    if (id) ids.push([id, index]);
  }
  return ids;
}

function movedBy(before, pages) {
  const now = new Map();
  for (const [page, ids] of pages) ids.forEach((id, at) => now.set(id, page * PAGE + at));
  for (const [id, index] of before) if (now.has(id)) return now.get(id) - index;
  return 0;
}

/** The task at `index` of the list, fetched if need be; null beyond its end. */
export async function taskAt(index) {
  if (index < 0 || (store.total.peek() !== null && index >= store.total.peek())) return null;
  const page = Math.floor(index / PAGE);
  if (!store.pages.peek().has(page)) {
    const stands = list.stands;
    const answer = await call('list_tasks', queryParams(page * PAGE, PAGE));
    if (stands()) batch(() => keepPage(page, answer));
    else answer.tasks.forEach(store.putTask);
    return answer.tasks[index % PAGE] ?? null;
  }
  const id = store.pages.peek().get(page)[index % PAGE];
  return id ? fresh(id) : null;
}

/** The whole list as it is now: {ids, undecided: places of those that wait for a decision}. */
export function outline() {
  const { sort, desc } = store.filter.peek();
  return call('list_ids', { ...match(), sort, desc: desc ? 1 : 0 });
}

/** Forgets a task that was fetched by its id, unless the list shows it. */
export function release(id) {
  for (const ids of store.pages.peek().values()) if (ids.includes(id)) return;
  store.tasks.delete(id);
}

/** A task by its id, fetched where it is not loaded; null where it is gone. */
export async function fresh(id) {
  const known = store.taskSignal(id);
  if (known) return known.peek();
  try {
    return store.putTask((await call('get_task', { task_id: id })).task).peek();
  } catch (error) {
    if (error.code === 'task_unknown') return null;
    throw error;
  }
}

/** Takes in a task as it is now, where it is loaded. */
export async function readAgain(id) {
  try {
    const { task } = await call('get_task', { task_id: id });
    if (store.taskSignal(id)) store.putTask(task);
  } catch {
    // gone, or the server is: the events tell
  }
}

/** Every task of the filter between two indexes (inclusive), in pieces of 500. */
export async function range(first, last) {
  const found = [];
  for (let offset = first; offset <= last; offset += 500) {
    const answer = await call('list_tasks', queryParams(offset, Math.min(500, last - offset + 1)));
    found.push(...answer.tasks);
    if (answer.tasks.length === 0) break;
  }
  return found;
}
