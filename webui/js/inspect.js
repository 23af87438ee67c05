// Owns the look at what lies at the path before anything is sent: counts, prompts, calls; again when the wish changes.
import { effect } from '@preact/signals';
import { call } from './api.js';
import { toastError } from './notices.js';
import { quietConfig, setFieldError } from './settings.js';
import * as store from './store.js';

const TYPED = 500; // ms after the last key
const WISHED = 1200; // ms after another wish
const MANY = 5000; // pictures that are not looked at again for each word of the prompt
const OURS = ['input_path', 'prompt_table', 'variants', 'references'];

let timer = 0;
let turn = 0;

/** What a start is asked besides path and configuration. */
export function planParams() {
  const { prompt_table, variants, references, fresh } = store.plan.peek();
  return { prompt_table: prompt_table.trim(), variants: Number(variants) || variants, references, fresh };
}

/** Takes another path; looks at it soon, or now. */
export function enterPath(path, { now = false } = {}) {
  store.inputPath.value = path;
  setFieldError('input_path', '');
  soon(now ? 0 : TYPED);
}

/** Changes how tasks are made of the pictures. */
export function enterPlan(name, value) {
  store.plan.value = { ...store.plan.peek(), [name]: value };
  setFieldError(name, '');
  soon(TYPED);
}

function soon(wait) {
  clearTimeout(timer);
  if (store.inputPath.peek().trim()) timer = setTimeout(inspect, wait);
  else store.inspection.value = null;
}

/** Looks again when the form asks for something else: what is answered already depends on it. */
export function startInspecting() {
  let before = null;
  effect(() => {
    const now = JSON.stringify([store.form.value, store.running.value]);
    const known = store.inspection.peek();
    if (before !== null && now !== before && known && !known.busy && known.count <= MANY) soon(WISHED);
    before = now;
  });
}

/** Asks what lies at the path and what a run would cost. */
export async function inspect() {
  const path = store.inputPath.peek().trim();
  if (!path) return;
  const mine = (turn += 1);
  if (!store.inspection.peek()?.count) store.inspection.value = { busy: true };
  try {
    const answer = await ask({ input_path: path, ...planParams() });
    if (mine !== turn) return;
    store.inspection.value = answer;
    OURS.forEach((name) => setFieldError(name, ''));
  } catch (error) {
    if (mine !== turn) return;
    store.inspection.value = null;
    if (OURS.includes(error.field)) setFieldError(error.field, error.message);
    else toastError(error);
  }
}

/** With the configuration as entered; one that cannot be used yet does not hide the pictures. */
async function ask(params) {
  const config = quietConfig();
  if (config === null) return call('inspect_path', params);
  try {
    return await call('inspect_path', { ...params, config });
  } catch (error) {
    if (!error.field || OURS.includes(error.field)) throw error;
    return call('inspect_path', params);
  }
}
