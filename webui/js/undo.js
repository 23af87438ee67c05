// Owns the steps that can be taken back: commands {label, redo, undo}, many deep.
import { t } from './i18n.js';
import { toast, toastError } from './notices.js';
import * as store from './store.js';

const DEEP = 500;

let moving = Promise.resolve(); // steps go back and forth one after the other, however fast the key is pressed

/** Does a command and remembers how to take it back, at once: who presses undo before the answer is there waits for it. */
export async function perform(command) {
  const step = { place: store.review.peek()?.id, ...command };
  step.pending = step.redo();
  store.undoStack.value = [...store.undoStack.peek().slice(1 - DEEP), step];
  store.redoStack.value = [];
  try {
    await step.pending;
  } catch (error) {
    store.undoStack.value = store.undoStack.peek().filter((one) => one !== step);
    toastError(error);
    return false;
  }
  return true;
}

async function move(from, to, way, key) {
  const step = from.peek().at(-1);
  if (!step) {
    toast(t(`page.${key}.nothing`), { topic: 'step' });
    return undefined;
  }
  from.value = from.peek().slice(0, -1);
  const before = [moving, step.pending];
  moving = step.pending = (async () => {
    await Promise.allSettled(before);
    await step[way]();
  })();
  to.value = [...to.peek(), step];
  try {
    await step.pending;
  } catch (error) {
    to.value = to.peek().filter((one) => one !== step);
    toastError(error);
    return undefined;
  }
  toast(t(`page.${key}.did`, { what: step.label }), { topic: 'step' });
  return step;
}

/** Takes the last step back and gives it; `place` is the task in review when it was done. */
export const undo = () => move(store.undoStack, store.redoStack, 'undo', 'undo');
/** Does the step again that was taken back last. */
export const redo = () => move(store.redoStack, store.undoStack, 'redo', 'redo');

/** Forgets all steps: the tasks that they speak of are gone. */
export function forgetSteps() {
  store.undoStack.value = [];
  store.redoStack.value = [];
}
