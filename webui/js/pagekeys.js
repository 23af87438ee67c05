// Owns the keys that hold everywhere on the page; what they are stands in keymap.js.
import { isTyping, press } from './keymap.js';
import { showKeys } from './notices.js';
import { openProjects } from './projects.js';
import * as store from './store.js';
import { redo, undo } from './undo.js';

/** Goes to a place of the way; in its list keys work at once. */
export function goTo(place) {
  store.place.value = place;
  const card = () => document.getElementById(`card-${store.focusIndex.peek()}`) ?? document.querySelector('main .list');
  requestAnimationFrame(() => requestAnimationFrame(() => card()?.focus({ preventScroll: true })));
}

const HANDLERS = {
  place: (digit) => goTo(store.PLACES[digit - 1]),
  projects: () => openProjects(),
  undo,
  redo,
  search: () => document.getElementById('search')?.focus(),
  keys: showKeys,
  closeLog: () => {
    store.debugTask.value = null;
  },
};

function here() {
  const handlers = { ...HANDLERS };
  if (!store.debugTask.peek() || store.menu.peek()) delete handlers.closeLog;
  if (!store.projects.peek()) delete handlers.projects;
  if (store.review.peek()) delete handlers.search;
  return handlers;
}

/** Listens for the keys that hold everywhere. */
export function startKeys() {
  addEventListener('keydown', (event) => {
    if (store.dialog.peek() || event.defaultPrevented || (isTyping(event) && !event.altKey)) return;
    press('page', event, here());
  });
}
