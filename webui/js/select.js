// Owns what is selected in the list: one, many by shift and ctrl, or everything in the filter.
import { batch } from '@preact/signals';
import { clearSelection, range } from './list.js';
import { toastError } from './notices.js';
import * as store from './store.js';

/** True where this task is selected. */
export function isSelected(id) {
  return store.selectedAll.value || store.selection.value.has(id);
}

/** Adds a task to the selection or takes it out. */
export async function toggleSelected(index, id) {
  try {
    const now = store.selectedAll.peek() ? await everything() : new Set(store.selection.peek());
    if (!now.delete(id)) now.add(id);
    batch(() => {
      store.selectedAll.value = false;
      store.selection.value = now;
      store.selectionAnchor.value = index;
    });
  } catch (error) {
    toastError(error);
  }
}

async function everything() {
  return new Set((await range(0, (store.total.peek() ?? 0) - 1)).map((task) => task.id));
}

/** Selects from the last touched task to this one; tasks between that are not loaded count too. */
export async function selectTo(index) {
  const anchor = store.selectionAnchor.peek() ?? store.focusIndex.peek();
  try {
    const tasks = await range(Math.min(anchor, index), Math.max(anchor, index));
    batch(() => {
      store.selectedAll.value = false;
      store.selection.value = new Set([...store.selection.peek(), ...tasks.map((task) => task.id)]);
      store.selectionAnchor.value = anchor;
    });
  } catch (error) {
    toastError(error);
  }
}

/** Selects everything in the filter, or nothing. */
export function selectAll(wanted) {
  clearSelection();
  if (wanted && store.total.peek()) store.selectedAll.value = true;
}
