// Owns going through pairs one by one: which task and result is shown, next, previous, next undecided, loading ahead.
import { batch } from '@preact/signals';
import { decided } from './decide.js';
import { t } from './i18n.js';
import { fresh, idAt, taskAt } from './list.js';
import { announce, toast, toastError } from './notices.js';
import { forget, preload } from './preload.js';
import { markReviewed } from './settings.js';
import * as store from './store.js';
import { perform } from './undo.js';

const AHEAD = [1, 2, -1]; // neighbours whose pictures are loaded while one looks
let turn = 0;

/** Opens the review view at a place of the list. */
export async function openReview(index, resultId = null) {
  await show(Math.max(0, index), resultId);
}

/** Goes back to the list, at the pair that was looked at last. */
export function closeReview() {
  const last = store.review.peek()?.index ?? 0;
  turn += 1;
  batch(() => {
    store.review.value = null;
    store.flicker.value = false;
    store.focusIndex.value = last;
  });
  forget();
}

async function show(index, resultId = null) {
  const mine = (turn += 1);
  let task;
  try {
    task = await taskAt(index);
  } catch (error) {
    toastError(error);
    return false;
  }
  if (!task || mine !== turn) return false;
  const at = resultId ? task.results.findIndex((one) => one.id === resultId) : firstKept(task);
  performance.mark('review-step-start');
  batch(() => {
    store.review.value = { index, id: task.id, result: Math.max(0, at) };
    store.focusIndex.value = index;
    store.reviewView.value = { ...store.reviewView.peek(), x: 0.5, y: 0.5 };
  });
  announce(t('page.review.at', { name: task.source_name, n: index + 1, total: store.total.peek() ?? 0 }));
  loadAhead(index);
  return true;
}

function firstKept(task) {
  const at = task.results.findIndex((one) => !one.deleted);
  return at === -1 ? 0 : at;
}

/** Addresses of a task's full-size pictures. */
export const pictureUrls = (task) => [task.source_image_url, ...task.results.slice(0, 4).map((one) => one.image_url)];

async function loadAhead(index) {
  const mine = turn;
  for (const step of AHEAD) {
    const task = await taskAt(index + step).catch(() => null);
    if (mine !== turn || !store.review.peek()) return;
    if (task) await Promise.allSettled(pictureUrls(task).map((url) => preload(url).ready));
    if (mine !== turn) return;
  }
}

/** One pair on, or back. */
export async function step(by) {
  const now = store.review.peek();
  if (!now) return;
  if (!(await show(now.index + by))) announceEnd(by);
}

function announceEnd(by) {
  const total = store.total.peek() ?? 0;
  const index = store.review.peek()?.index ?? 0;
  if ((by > 0 && index >= total - 1) || (by < 0 && index === 0)) toast(t(by > 0 ? 'page.review.last' : 'page.review.first'));
}

/** On to the next pair with results that nobody has decided about. */
export async function nextUndecided() {
  const now = store.review.peek();
  if (!now) return;
  const total = store.total.peek() ?? 0;
  try {
    for (let n = 1; n < total; n += 1) {
      const index = (now.index + n) % total;
      const task = idAt(index) ? await fresh(idAt(index)) : await taskAt(index);
      if (store.review.peek()?.id !== now.id) return; // went elsewhere meanwhile
      if (task && task.results.length && !decided(task)) {
        await show(index);
        return;
      }
    }
  } catch (error) {
    toastError(error);
    return;
  }
  toast(t('page.review.allDecided'));
}

/** Leaves the ticks as they are, notes the pair as decided, and goes to the next undecided one. */
export async function accept(task) {
  const index = store.review.peek()?.index;
  await perform({
    label: t('page.step.accept', { name: task.source_name }),
    place: index,
    redo: async () => markReviewed(task.id),
    undo: async () => {
      const left = new Set(store.reviewed.peek());
      left.delete(task.id);
      store.reviewed.value = left;
    },
  });
  await nextUndecided();
}

/** Makes another result of the pair the one that is compared. */
export function chooseResult(at) {
  const now = store.review.peek();
  if (now) store.review.value = { ...now, result: at };
}

/** Goes to the pair that a step taken back speaks of. */
export async function goTo(index) {
  if (store.review.peek() && typeof index === 'number' && index !== store.review.peek().index) await show(index);
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
