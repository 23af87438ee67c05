// Owns short notices, questions and what readers are told: toasts, confirm dialogs, live region.
import { problemText, t } from './i18n.js';
import * as store from './store.js';

const STAYS = 6000; // ms

/** Shows a notice; `action` = {label, run} adds a button; one of the same `topic` gives way. Errors stay. */
export function toast(text, { kind = 'info', action = null, topic = null } = {}) {
  const id = (store.memory.lastToast += 1);
  const others = store.toasts.peek().filter((one) => !topic || one.topic !== topic);
  store.toasts.value = [...others.slice(-3), { id, text, kind, action, topic }];
  if (kind !== 'error') setTimeout(() => dismiss(id), action ? STAYS * 2 : STAYS);
  return id;
}

export function dismiss(id) {
  store.toasts.value = store.toasts.peek().filter((one) => one.id !== id);
}

/** Shows a failure that belongs to no field and no task. */
export function toastError(error) {
  if (error?.code === undefined) throw error;
  if (error.code === 'server_gone') store.connection.value = 'lost';
  else toast(problemText(error), { kind: 'error' });
}

/** Says something to screen readers only. */
export function announce(text) {
  store.announcement.value = text;
}

/** Asks once; resolves to true when the person agrees. `lines` say what will be lost or paid, `prompts`
 * ([{label, text}]) what will be sent. */
export function ask({ title, lines = [], prompts = [], confirm, danger = false }) {
  return new Promise((resolve) => {
    store.dialog.value = { kind: 'confirm', title, lines, prompts, confirm: confirm ?? t('page.ok'), danger, resolve };
  });
}

/** Asks for a text; resolves to it, or to null. */
export function askText({ title, label, value = '', confirm }) {
  return new Promise((resolve) => {
    store.dialog.value = { kind: 'text', title, label, value, confirm: confirm ?? t('page.ok'), resolve };
  });
}

/** Shows a dialog of the page's own: folders, keys. */
export function openDialog(kind, more = {}) {
  return new Promise((resolve) => {
    store.dialog.value = { kind, ...more, resolve };
  });
}

/** Shows the list of keys. */
export const showKeys = () => openDialog('keys');
