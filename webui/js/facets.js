// Owns the counts beside the filter: how many tasks there are by decision, failure, prompt and folder.
import { effect } from '@preact/signals';
import { call } from './api.js';
import * as store from './store.js';

const AGAIN = 1500; // ms between two counts while a run goes on

/** Keeps the counts in step while a place shows them. */
export function startFacets() {
  let timer = 0;
  let last = 0;
  effect(() => {
    const { total, done, failed, stopped, processing } = store.progress.value;
    void [total, done, failed, stopped, processing, store.undoStack.value, store.redoStack.value, store.pages.value];
    clearTimeout(timer);
    if (!['judge', 'run'].includes(store.place.value) || store.review.value) return;
    timer = setTimeout(
      () => {
        last = Date.now();
        loadFacets();
      },
      Math.max(50, last + AGAIN - Date.now()),
    );
  });
}

/** Counts anew; a failure leaves the old counts, and the list tells why. */
export async function loadFacets() {
  const stands = store.asked.facets();
  const counts = [call('list_facets'), call('list_findings', { limit: 0 })];
  const [found, { at, tasks }] = await Promise.all(counts).catch(() => [null, {}]);
  if (!found || !stands()) return;
  store.facets.value = found;
  store.foundTasks.value = at ? tasks : null;
}
