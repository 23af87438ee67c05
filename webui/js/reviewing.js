// Owns going through pairs one by one: which task and result is shown, next, previous, next undecided, loading ahead.
import { batch } from '@preact/signals';
import { setDecided } from './decide.js';
import { t } from './i18n.js';
import { fresh, outline, release, taskAt } from './list.js';
import { announce, toast, toastError } from './notices.js';
import { forget, preload } from './preload.js';
import * as store from './store.js';
import { perform } from './undo.js';

const AHEAD = [1, 2, -1]; // neighbours whose pictures are loaded while one looks
const KEEP = 60; // tasks held beside those of the list
let turn = 0;
// The list as it was when the review was opened: a decision may take a task out of a filtered list, and the next one
// would then be passed over. `undecided`: places in it, ascending; null until it is read.
let way = { ids: [], undecided: null };
let reading = Promise.resolve(); // while the list is read: a long one takes longer than the first pair should
let held = [];

/** Opens the review view at a place of the list. */
export async function openReview(index, resultId = null) {
  try {
    const at = Math.max(0, index);
    if (await begin(at)) await show(at, resultId);
  } catch (error) {
    toastError(error);
  }
}

/** Opens it where there is something to decide: here, else further on, else further up; here again where nothing is. */
export async function openUndecided() {
  try {
    const task = await begin(store.focusIndex.peek());
    if (!task) return;
    await reading;
    const here = way.ids.indexOf(task.id);
    const places = task.decided ? [...way.undecided] : [];
    await show(places.find((place) => place > here) ?? places[0] ?? here);
  } catch (error) {
    toastError(error);
  }
}

/** The task at a place of the list, from which the way leads on as soon as it is read. */
async function begin(index) {
  const task = await taskAt(index);
  if (!task) return null;
  const ids = new Array(store.total.peek() ?? 1);
  ids[index] = task.id;
  way = { ids, undecided: null };
  reading = read(task.id, index);
  reading.catch(() => undefined); // told to whoever waits for it
  return task;
}

async function read(id, index) {
  const { ids, undecided } = await outline();
  const waiting = new Set(undecided.map((place) => ids[place]));
  if (!ids.includes(id)) ids.splice(index, 0, id); // decided about while the list was read, which left it out then
  way = wayOf(ids, waiting);
  const now = store.review.peek();
  if (now) store.review.value = { ...now, index: ids.indexOf(now.id), ...lengths() };
}

const wayOf = (ids, waiting) => ({ ids, undecided: new Set([...ids.keys()].filter((place) => waiting.has(ids[place]))) });

const lengths = () => ({ of: way.ids.length, left: way.undecided?.size ?? null });

/** Goes back to the list, at the pair that was looked at last. */
export function closeReview() {
  const last = Math.min(store.review.peek()?.index ?? 0, Math.max(0, (store.total.peek() ?? 0) - 1));
  turn += 1;
  batch(() => {
    store.review.value = null;
    store.flicker.value = false;
    store.focusIndex.value = last;
  });
  held.forEach(release);
  held = [];
  forget();
}

/** Shows a place of the way; false where there is no task any more. */
async function show(index, resultId = null) {
  const mine = (turn += 1);
  const task = await take(index);
  if (!task) return false;
  if (mine !== turn) return true;
  settle();
  const at = resultId ? task.results.findIndex((one) => one.id === resultId) : firstKept(task);
  performance.mark('review-step-start');
  batch(() => {
    store.review.value = { index, ...lengths(), id: task.id, result: Math.max(0, at) };
    store.focusIndex.value = index;
    store.reviewView.value = { ...store.reviewView.peek(), x: 0.5, y: 0.5 };
  });
  announce(t('page.review.at', { name: task.source_name, n: index + 1, total: way.ids.length }));
  loadAhead(index);
  return true;
}

/** The task at a place of the way; only the last few are held. */
async function take(index) {
  const id = way.ids[index];
  const task = id === undefined ? null : await fresh(id);
  if (!task) return null;
  held = [...held.filter((one) => one !== id), id];
  held.splice(0, held.length - KEEP).forEach(release);
  return task;
}

/** What the person has decided about need not be looked for any more. */
function settle() {
  const now = store.review.peek();
  if (now && store.taskSignal(now.id)?.peek().decided) way.undecided?.delete(now.index);
}

/** Reads the list again: what came to it since goes to the end of the way. Whether anything came. */
async function readAgain() {
  const now = await outline();
  const known = new Set(way.ids);
  const ids = [...way.ids, ...now.ids.filter((id) => !known.has(id))];
  const waiting = new Set(now.undecided.map((place) => now.ids[place]));
  way = wayOf(ids, waiting);
  if (store.review.peek()) store.review.value = { ...store.review.peek(), ...lengths() };
  return ids.length > known.size;
}

function firstKept(task) {
  const at = task.results.findIndex((one) => !one.deleted);
  return at === -1 ? 0 : at;
}

/** Addresses of a task's full-size pictures. */
export const pictureUrls = (task) => [task.source_image_url, ...task.results.slice(0, 4).map((one) => one.image_url)];

async function loadAhead(index) {
  const mine = turn;
  await reading.catch(() => undefined);
  for (const step of AHEAD) {
    const task = await take(index + step).catch(() => null);
    if (mine !== turn || !store.review.peek()) return;
    if (task) await Promise.allSettled(pictureUrls(task).map((url) => preload(url).ready));
    if (mine !== turn) return;
  }
}

/** One pair on, or back. */
export async function step(by) {
  try {
    await reading;
    const now = store.review.peek();
    if (!now) return;
    for (let at = now.index + by; at >= 0 && (at < way.ids.length || (await readAgain())); at += by) {
      if (await show(at)) return;
    }
    toast(t(by > 0 ? 'page.review.last' : 'page.review.first'));
  } catch (error) {
    toastError(error);
  }
}

/** On to the next pair with results that nobody has decided about. */
export async function nextUndecided() {
  try {
    await reading;
    const now = store.review.peek();
    if (!now) return;
    settle();
    if (await showUndecided(now)) return;
    await readAgain();
    if (!(await showUndecided(now))) toast(t('page.review.allDecided'));
  } catch (error) {
    toastError(error);
  }
}

async function showUndecided(from) {
  const places = [...way.undecided];
  const after = places.filter((place) => place > from.index);
  for (const index of [...after, ...places.filter((place) => place < from.index)]) {
    const task = await take(index);
    if (store.review.peek()?.id !== from.id) return true; // went elsewhere meanwhile
    if (task?.results.length && !task.decided) return show(index);
    way.undecided.delete(index);
  }
  return false;
}

/** Leaves the ticks as they are, notes the pair as decided, and goes to the next undecided one. */
export async function accept(task) {
  await perform({
    label: t('page.step.accept', { name: task.source_name }),
    redo: () => setDecided(task.id, true),
    undo: () => setDecided(task.id, false),
  });
  await nextUndecided();
}

/** Makes another result of the pair the one that is compared. */
export function chooseResult(at) {
  const now = store.review.peek();
  if (now) store.review.value = { ...now, result: at };
}

/** Goes to the pair that a step taken back speaks of. */
export async function goTo(id) {
  const index = store.review.peek() ? way.ids.indexOf(id) : -1;
  if (index < 0 || index === store.review.peek().index) return;
  try {
    await show(index);
  } catch (error) {
    toastError(error);
  }
}

/** Changes zoom (1 = fitted) around a point of the picture, 0..1 each way. */
export function zoomBy(factor, point = null) {
  const view = store.reviewView.peek();
  const zoom = Math.min(64, Math.max(0.1, (view.scale ?? 1) * factor));
  setZoom(zoom, point);
}

export function setZoom(zoom, point = null) {
  const view = store.reviewView.peek();
  const before = view.scale ?? 1;
  if (Math.abs(zoom - 1) < 0.01) {
    store.reviewView.value = { scale: null, x: 0.5, y: 0.5 };
    return;
  }
  const keep = before / zoom; // the point stays under the pointer
  const x = point ? point.x + (view.x - point.x) * keep : view.x;
  const y = point ? point.y + (view.y - point.y) * keep : view.y;
  store.reviewView.value = { scale: zoom, x: clamp(x), y: clamp(y) };
}

/** Moves the part in sight, by shares of the picture. */
export function panBy(dx, dy) {
  const view = store.reviewView.peek();
  if (view.scale) store.reviewView.value = { ...view, x: clamp(view.x + dx), y: clamp(view.y + dy) };
}

const clamp = (value) => Math.min(1, Math.max(0, value));
