// Owns the steps that can be taken back: each is what was marked before and after, kept through a reload of the page.
import { t } from './i18n.js';
import { put } from './marks.js';
import { toast, toastError } from './notices.js';
import * as store from './store.js';

const DEEP = 500;
const keptAs = () => `steps ${store.memory.stream.project}`; // steps of one project are none of another
const MOST_KEPT = 2_000_000; // characters of a browser's storage

/** Does a step {label, before, after} and remembers it, at once: who presses undo before the answer is there waits. */
export async function perform(change) {
  return tried(noteStep(change), change.after, store.undoStack);
}

/** Remembers a step {label, before, after} that the program has done already. */
export function noteStep({ label, before, after }) {
  const step = { label, before, after, place: store.review.peek()?.id ?? null };
  store.memory.leaving = false;
  store.undoStack.value = [...store.undoStack.peek().slice(1 - DEEP), step];
  store.redoStack.value = [];
  keep();
  return step;
}

async function tried(step, marks, stack) {
  try {
    await put(marks);
    return true;
  } catch (error) {
    if (store.memory.leaving) return false; // cut off by a reload: it may well have been done, and stays undoable
    stack.value = stack.peek().filter((one) => one !== step);
    keep();
    toastError(error);
    return false;
  }
}

async function move(from, to, side, key) {
  const step = from.peek().at(-1);
  if (!step) {
    toast(t(`page.${key}.nothing`), { topic: 'step' });
    return null;
  }
  from.value = from.peek().slice(0, -1);
  to.value = [...to.peek(), step];
  keep();
  if (!(await tried(step, step[side], to))) return null;
  toast(t(`page.${key}.did`, { what: step.label }), { topic: 'step' });
  return step;
}

/** Takes the last step back and gives it; `place` is the task in review when it was done. */
export const undo = () => move(store.undoStack, store.redoStack, 'before', 'undo');
/** Does the step again that was taken back last. */
export const redo = () => move(store.redoStack, store.undoStack, 'after', 'redo');

/** Forgets all steps: the tasks that they speak of are gone. */
export function forgetSteps() {
  store.undoStack.value = [];
  store.redoStack.value = [];
  keep();
}

/** Keeps the steps for after a reload, the latest as far as there is room. */
function keep() {
  const [undone, redone] = [store.undoStack.peek(), store.redoStack.peek()];
  for (let count = undone.length; ; count = Math.floor(count / 2)) {
    const text = JSON.stringify({ undo: undone.slice(undone.length - count), redo: count ? redone : [] });
    try {
      if (text.length < MOST_KEPT || !count) return sessionStorage.setItem(keptAs(), text);
    } catch {
      if (!count) return undefined; // no storage here: undo ends with the page
    }
  }
}

/** Takes over the steps that were kept before a reload. */
export function recallSteps() {
  addEventListener('beforeunload', () => {
    store.memory.leaving = true;
  });
  try {
    const kept = JSON.parse(sessionStorage.getItem(keptAs()) ?? '{}');
    store.undoStack.value = kept.undo ?? [];
    store.redoStack.value = kept.redo ?? [];
  } catch {
    // no storage, or not ours: there is nothing to take back
  }
}
