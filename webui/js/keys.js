// Owns the keys of the page that hold everywhere; the review view and the list add their own.
import { html } from './html.js';
import { openDialog } from './notices.js';
import * as store from './store.js';
import { redo, undo } from './undo.js';

/** Keys of the review view, as the list of keys shows them: [keys, message key]. */
export const REVIEW_KEYS = [
  [['→', 'J'], 'page.key.next'],
  [['←', 'K'], 'page.key.previous'],
  [['N'], 'page.key.undecided'],
  [['Enter'], 'page.key.accept'],
  [['1', '–', '9'], 'page.key.tick'],
  [['T'], 'page.key.tickCurrent'],
  [['A'], 'page.key.tickAll'],
  [['↑', '↓'], 'page.key.result'],
  [['X'], 'page.key.drop'],
  [['Z'], 'page.key.undo'],
  [['Y'], 'page.key.redo'],
  [['R'], 'page.key.retry'],
  [['S'], 'page.key.save'],
  [['V'], 'page.key.side'],
  [['B'], 'page.key.slider'],
  [['D'], 'page.key.difference'],
  [['G'], 'page.key.single'],
  [['F'], 'page.key.flicker'],
  [['+', '−'], 'page.key.zoom'],
  [['0'], 'page.key.fit'],
  [['O'], 'page.key.original'],
  [['P'], 'page.key.prompt'],
  [['L'], 'page.key.log'],
  [['?'], 'page.key.keys'],
  [['Esc'], 'page.key.close'],
];

export const LIST_KEYS = [
  [['←', '→', '↑', '↓'], 'page.key.move'],
  [['Enter'], 'page.key.open'],
  [['Space'], 'page.key.select'],
  [['1', '–', '9'], 'page.key.tick'],
  [['X'], 'page.key.dropAll'],
  [['Ctrl', 'A'], 'page.key.selectAll'],
  [['/'], 'page.key.search'],
  [['Z'], 'page.key.undo'],
  [['L'], 'page.key.log'],
];

/** True where a key press is typing, not a command. */
export function isTyping(event) {
  const where = event.target;
  return where instanceof HTMLElement && (where.isContentEditable || where.matches('input:not([type=checkbox]):not([type=range]), textarea, select'));
}

/** Shows the list of keys. */
export const showKeys = () => openDialog('keys');

/** Listens for the keys that hold everywhere. */
export function startKeys() {
  addEventListener('keydown', (event) => {
    if (isTyping(event) || store.dialog.peek() || event.defaultPrevented) return;
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (command && key === 'z') take(event, event.shiftKey ? redo : undo);
    else if (command && key === 'y') take(event, redo);
    else if (command || event.altKey) return;
    else if (key === 'z') take(event, event.shiftKey ? redo : undo);
    else if (key === 'y') take(event, redo);
    else if (key === 'escape' && store.debugTask.peek() && !store.menu.peek()) take(event, () => { store.debugTask.value = null; });
    else if (key === '?') take(event, showKeys);
    else if (key === '/' && !store.review.peek()) take(event, () => document.getElementById('search')?.focus());
  });
}

function take(event, run) {
  event.preventDefault();
  run();
}

/** The list of keys as a table's rows. */
export function KeyRows({ keys, t }) {
  return keys.map(([names, text]) => html`<tr><td class="keys-cell">${names.map((name) => (name === '–' ? '–' : html`<kbd>${name}</kbd>`))}</td><td>${t(text)}</td></tr>`);
}
