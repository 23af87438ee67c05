// Owns going through pairs one by one: which task and result is shown, next, previous, next undecided, loading ahead.
import { batch } from '@preact/signals';
import { reject, setDecided, keepOne } from './decide.js';
import { t } from './i18n.js';
import { fresh, outline, release, taskAt } from './list.js';
import { announce, toast, toastError } from './notices.js';
import { forget, preload } from './preload.js';
import * as store from './store.js';
import { redo, undo } from './undo.js';

const AHEAD = [1, 2, -1]; // neighbours whose pictures are loaded while one looks
const KEEP = 60; // tasks held beside those of the list
const SIDE_BY_SIDE = 4; // results whose pictures are loaded

const { review } = store.memory;

/** Tells a failure of what goes on by itself. */
const withToast = (work) => work().catch(toastError);

/** Opens the review view at a place of the list. */
export const openReview = (index, resultId = null) =>
  withToast(async () => {
    const at = Math.max(0, index);
    if (await begin(at)) await show(at, resultId);
  });

/** Opens it where there is something to decide: here, else further on, else further up; here again where nothing is. */
export const openUndecided = () =>
  withToast(async () => {
    const task = await begin(store.focusIndex.peek());
    if (!task) return;
    await review.reading;
    const here = review.way.ids.indexOf(task.id);
    const places = task.decided ? [...review.way.undecided] : [];
    await show(places.find((place) => place > here) ?? places[0] ?? here);
  });

/** The task at a place of the list, from which the way leads on as soon as it is read. */
async function begin(index) {
  const task = await taskAt(index);
  if (!task) return null;
  const ids = new Array(store.total.peek() ?? 1);
  ids[index] = task.id;
  review.way = { ids, undecided: null };
  review.reading = read(task.id, index);
  review.reading.catch(() => undefined); // withToast to whoever waits for it
  return task;
}

async function read(id, index) {
  const { ids, undecided } = await outline();
  const waiting = new Set(undecided.map((place) => ids[place]));
  if (!ids.includes(id)) ids.splice(index, 0, id); // decided about while the list was read, which left it out then
  review.way = wayOf(ids, waiting);
  const now = store.review.peek();
  if (now) store.review.value = { ...now, index: ids.indexOf(now.id), ...lengths() };
}

const wayOf = (ids, waiting) => ({
  ids,
  undecided: new Set([...ids.keys()].filter((place) => waiting.has(ids[place]))),
});

const lengths = () => ({ of: review.way.ids.length, left: review.way.undecided?.size ?? null });

/** Goes back to the list, at the pair that was looked at last. */
export function closeReview() {
  const last = Math.min(store.review.peek()?.index ?? 0, Math.max(0, (store.total.peek() ?? 0) - 1));
  store.asked.review(); // what is on its way comes too late
  batch(() => {
    store.review.value = null;
    store.flicker.value = false;
    store.focusIndex.value = last;
  });
  review.held.forEach(release);
  review.held = [];
  forget();
}

/** Shows a place of the way; false where there is no task any more. */
async function show(index, resultId = null) {
  const stands = store.asked.review();
  const task = await take(index);
  if (!task) return false;
  if (!stands()) return true;
  settle();
  const at = resultId ? task.results.findIndex((one) => one.id === resultId) : firstKept(task);
  performance.mark('review-step-start');
  batch(() => {
    store.review.value = { index, ...lengths(), id: task.id, result: Math.max(0, at) };
    store.focusIndex.value = index;
    store.reviewView.value = { ...store.reviewView.peek(), x: 0.5, y: 0.5 };
  });
  announce(t('page.review.at', { name: task.source_name, n: index + 1, total: review.way.ids.length }));
  loadAhead(index, stands);
  return true;
}

/** The task at a place of the way; only the last few are held. */
async function take(index) {
  const id = review.way.ids[index];
  const task = id === undefined ? null : await fresh(id);
  if (!task) return null;
  review.held = [...review.held.filter((one) => one !== id), id];
  review.held.splice(0, review.held.length - KEEP).forEach(release);
  return task;
}

/** What the person has decided about need not be looked for any more; what was taken back has to. */
function settle() {
  const now = store.review.peek();
  const task = now && store.taskSignal(now.id)?.peek();
  if (!task || !review.way.undecided) return;
  if (task.decided) review.way.undecided.delete(now.index);
  else if (task.results.length) review.way.undecided.add(now.index);
}

/** Reads the list again: what came to it since goes to the end of the way. Whether anything came. */
async function readAgain() {
  const now = await outline();
  const known = new Set(review.way.ids);
  const ids = [...review.way.ids, ...now.ids.filter((id) => !known.has(id))];
  const waiting = new Set(now.undecided.map((place) => now.ids[place]));
  review.way = wayOf(ids, waiting);
  if (store.review.peek()) store.review.value = { ...store.review.peek(), ...lengths() };
  return ids.length > known.size;
}

function firstKept(task) {
  const at = task.results.findIndex((one) => !one.deleted);
  return at === -1 ? 0 : at;
}

/** Addresses of a task's full-size pictures. */
export const pictureUrls = (task) => [
  task.source_image_url,
  ...task.results.slice(0, SIDE_BY_SIDE).map((one) => one.image_url),
];

async function loadAhead(index, stands) {
  await review.reading.catch(() => undefined);
  for (const step of AHEAD) {
    const task = await take(index + step).catch(() => null);
    if (!stands() || !store.review.peek()) return;
    if (task) await Promise.allSettled(pictureUrls(task).map((url) => preload(url).ready));
    if (!stands()) return;
  }
}

/** One pair on, or back. */
export const step = (by) =>
  withToast(async () => {
    await review.reading;
    const now = store.review.peek();
    if (!now) return;
    for (let at = now.index + by; at >= 0 && (at < review.way.ids.length || (await readAgain())); at += by) {
      if (await show(at)) return;
    }
    toast(t(by > 0 ? 'page.review.last' : 'page.review.first'));
  });

/** On to the next pair with results that nobody has decided about. */
export const nextUndecided = () =>
  withToast(async () => {
    await review.reading;
    const now = store.review.peek();
    if (!now) return;
    settle();
    if (await showUndecided(now)) return;
    await readAgain();
    settle();
    if (!(await showUndecided(now))) toast(t('page.review.allDecided'));
  });

async function showUndecided(from) {
  const places = [...review.way.undecided].sort((a, b) => a - b);
  const after = places.filter((place) => place > from.index);
  for (const index of [...after, ...places.filter((place) => place < from.index)]) {
    const task = await take(index);
    if (store.review.peek()?.id !== from.id) return true; // went elsewhere meanwhile
    if (task?.results.length && !task.decided) return show(index);
    review.way.undecided.delete(index);
  }
  return false;
}

/** Leaves the ticks as they are, notes the pair as decided, and goes to the next undecided one. */
export function accept(task) {
  setDecided(task, true);
  return nextUndecided();
}

/** Rejects the pair and goes on, if that is wished; a rejected pair is taken back. */
export function rejectPair(task) {
  if (task.results.length && reject(task) && store.rejectGoesOn.peek()) nextUndecided();
}

/** Keeps one result, and goes to the next undecided pair. */
export function keepAndGoOn(task, result) {
  if (!result) return;
  keepOne(task, result);
  nextUndecided();
}

/** Makes another result of the pair the one that is compared. */
export function chooseResult(at) {
  const now = store.review.peek();
  if (now) store.review.value = { ...now, result: at };
}

/** Takes a step back, or does it again, and goes to the pair that it speaks of. */
export const undoInReview = async () => goTo((await undo())?.place);
export const redoInReview = async () => goTo((await redo())?.place);

function goTo(id) {
  const index = store.review.peek() ? review.way.ids.indexOf(id) : -1;
  if (index < 0 || index === store.review.peek().index) return settle();
  return withToast(() => show(index));
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
  if (Math.abs(zoom - 1) < 0.002) {
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
