// Owns the steps that can be taken back: commands {label, redo, undo}, many deep.
import { t } from './i18n.js';
import { toast, toastError } from './notices.js';
import * as store from './store.js';

const DEEP = 500;

/** Does a command and remembers how to take it back; `place` is where in the list it happened. */
export async function perform(command) {
  try {
    await command.redo();
  } catch (error) {
    toastError(error);
    return false;
  }
  const placed = { place: store.review.peek()?.index, ...command };
  store.undoStack.value = [...store.undoStack.peek().slice(1 - DEEP), placed];
  store.redoStack.value = [];
  return true;
}

async function step(from, to, way, key) {
  const command = from.peek().at(-1);
  if (!command) {
    toast(t(`page.${key}.nothing`));
    return undefined;
  }
  from.value = from.peek().slice(0, -1);
  try {
    await command[way]();
  } catch (error) {
    toastError(error);
    return undefined;
  }
  to.value = [...to.peek(), command];
  toast(t(`page.${key}.did`, { what: command.label }));
  return command;
}

/** Takes the last command back. */
export const undo = () => step(store.undoStack, store.redoStack, 'undo', 'undo');
/** Does the command again that was taken back last. */
export const redo = () => step(store.redoStack, store.undoStack, 'redo', 'redo');

/** Forgets all steps: the tasks that they speak of are gone. */
export function forgetSteps() {
  store.undoStack.value = [];
  store.redoStack.value = [];
}
