// Owns the look at what lies at the path before anything is sent: counts, prompts, calls; again when a form changes.
import { effect } from '@preact/signals';
import { call } from './api.js';
import { enter, readSettings, setError, specOf } from './form.js';
import { toastError } from './notices.js';
import * as store from './store.js';

const SOON = 400; // ms after the last key
const LATER = 3000; // the same where so many pictures lie there that looking takes a while
const MANY = 5000;

/** What a start is asked besides the configuration. */
export function planParams() {
  const { input_path, prompt_table, variants, references, fresh, batch_size: size } = store.forms.plan.peek();
  const count = Number(variants) || variants;
  return {
    input_path: input_path.trim(),
    prompt_table: prompt_table.trim(),
    variants: count,
    references,
    fresh,
    batch_size: Number(size) || undefined,
  };
}

/** Takes another path and looks at it now. */
export function enterPath(path) {
  enter('plan', 'input_path', path);
  return inspect();
}

/** Looks again when what is entered changes: says at once that its figures are old, counts anew a moment later. */
export function startInspecting() {
  let before = null;
  effect(() => {
    const plan = store.forms.plan.value;
    const now = JSON.stringify([store.forms.config.value, plan, store.running.value]);
    if (before === null) before = now;
    if (now === before) return;
    const known = store.inspection.peek();
    const [settings, { input_path: path }, ran] = JSON.parse(before);
    const described = settings.recipe !== store.forms.config.value.recipe;
    const typed = path === plan.input_path && ran === store.running.value;
    before = now;
    clearTimeout(store.memory.pathTimer);
    if (!plan.input_path.trim()) {
      store.inspection.value = null;
      if (described) store.memory.pathTimer = setTimeout(checkRecipe, SOON);
    } else {
      store.inspectionStale.value = true; // a start looks first, however many there are
      store.memory.pathTimer = setTimeout(inspect, typed && known?.count > MANY ? LATER : SOON);
    }
  });
}

/** Asks what lies at the path and what a run would cost. */
export async function inspect() {
  clearTimeout(store.memory.pathTimer);
  const params = planParams();
  if (!params.input_path) return;
  const stands = store.asked.path();
  if (!store.inspection.peek()?.count) store.inspection.value = { busy: true };
  try {
    const answer = await look(params);
    if (!stands()) return;
    store.inspection.value = answer;
    store.inspectionStale.value = false;
    store.lostFolder.value = '';
    Object.keys(params).forEach((name) => setError('plan', name, ''));
  } catch (error) {
    if (!stands()) return;
    store.inspection.value = null;
    store.inspectionStale.value = false;
    store.lostFolder.value = error.code === 'path_not_found' ? params.input_path : '';
    if (error.field && specOf('plan', error.field)) setError('plan', error.field, error.message);
    else toastError(error);
  }
}

/** With the configuration as entered; one that cannot be used yet does not hide the pictures. */
async function look(params) {
  const config = readSettings({ quiet: true });
  if (config === null) return call('inspect_path', params);
  try {
    return await call('inspect_path', { ...params, config });
  } catch (error) {
    if (!error.field || specOf('plan', error.field)) throw error;
    tellRecipe(error);
    return call('inspect_path', params);
  }
}

/** A recipe is checked as it is typed, also while no folder is chosen. */
function tellRecipe(error) {
  if (error.field === 'recipe') setError('config', 'recipe', error.message, error.params?.path);
}

function checkRecipe() {
  const { recipe } = store.forms.config.peek();
  const config = recipe?.trim() && readSettings({ quiet: true });
  if (!config) return;
  call('inspect_path', { input_path: '', config }).catch((error) => {
    if (store.forms.config.peek().recipe === recipe) tellRecipe(error); // a sound one is refused for its folder
  });
}
