// Owns the frame of everything the person makes the program do: once at a time, and a refusal goes where it belongs.
import { call, isWindow } from './api.js';
import { clearErrors, showRefusal } from './form.js';
import { openDialog, toastError } from './notices.js';
import * as store from './store.js';

/** Does a deed once at a time under a name that controls can show as busy; a refusal becomes an error at its field in
 * one of `forms`, whose earlier errors are forgotten, or else a notice. */
export async function deed(name, work, forms = []) {
  if (store.busy.peek().has(name)) return undefined;
  store.busy.value = new Set(store.busy.peek()).add(name);
  forms.forEach(clearErrors);
  try {
    return await work();
  } catch (error) {
    if (error.code === undefined) throw error;
    if (!showRefusal(error, forms)) toastError(error);
    return undefined;
  } finally {
    const left = new Set(store.busy.peek());
    left.delete(name);
    store.busy.value = left;
  }
}

/** Lets the person choose a folder, or a file: the native dialog in the window, ours in a browser. */
export async function choosePath(kind, start) {
  if (!isWindow()) return openDialog('folders', { start, files: kind === 'file' });
  const answer = await call(kind === 'file' ? 'pick_file' : 'pick_folder', { path: start });
  return typeof answer === 'string' ? answer : (answer?.path ?? null);
}

/** Puts a path on top of a list of recent ones. */
export function pushRecent(list, path) {
  if (path) list.value = [path, ...list.peek().filter((one) => one !== path)].slice(0, 12);
}
