// Owns what is remembered on the program's side: drafts, recent paths, the place, taste; and theme and language.
import { effect } from '@preact/signals';
import { call, storing } from './api.js';
import { draft } from './form.js';
import * as store from './store.js';

const SAVE_AFTER = 600; // ms
const keepUi = storing('save_ui');
const dark = matchMedia('(prefers-color-scheme: dark)');

/** Settings of the page that are one signal each, under the names in which they are stored. */
const REMEMBERED = {
  language: store.language,
  theme: store.theme,
  place: store.place,
  folds: store.folds,
  thumb_size: store.thumbSize,
  recent_paths: store.recentPaths,
  recent_outputs: store.recentOutputs,
  preset: store.presetName,
  service: store.service,
  notify: store.notify,
  review_mode: store.reviewMode,
  keymap: store.keymap,
  reject_goes_on: store.rejectGoesOn,
  thresholds: store.thresholds,
  allow: store.allow,
  columns: store.columns,
  library: store.library,
  panel: store.panelOpen,
  guard: store.forms.guard,
  trial: store.forms.trial,
};

function snapshot() {
  const { input_path, ...plan } = store.forms.plan.value;
  return {
    ...Object.fromEntries(Object.entries(REMEMBERED).map(([name, one]) => [name, one.value])),
    sort: { sort: store.filter.value.sort, desc: store.filter.value.desc },
    input_path,
    plan: { ...plan, fresh: false },
    output_dir: store.forms.rule.value.output_dir,
    set_form: { ...store.forms.set.value, path: '', only_filtered: false },
    draft: draft(),
  };
}

/** Only entries that the form has: what an older page stored may hold others. */
function fill(form, entries) {
  const known = Object.entries(entries ?? {}).filter(([name]) => name in form.peek());
  form.value = { ...form.peek(), ...Object.fromEntries(known) };
}

/** Takes over what was remembered. */
export function remember(settings) {
  for (const [name, one] of Object.entries(REMEMBERED)) {
    if (name !== 'language' && settings[name] !== undefined && settings[name] !== null) one.value = settings[name];
  }
  if (settings.sort) store.filter.value = { ...store.filter.peek(), ...settings.sort };
  fill(store.forms.plan, { ...settings.plan, input_path: settings.input_path ?? '' });
  fill(store.forms.rule, { output_dir: settings.output_dir ?? '' });
  const { thresholds, allow, ...set } = settings.set_form ?? {};
  fill(store.forms.set, set);
  if (thresholds && !settings.thresholds) store.thresholds.value = thresholds; // of an older page
  if (allow && !settings.allow) store.allow.value = allow;
}

/** From now on each change of what is remembered is stored, a moment later. */
export function startRemembering() {
  const { saving } = store.memory;
  let last = '';
  effect(() => {
    const now = JSON.stringify(snapshot());
    if (!saving.loaded || now === last) {
      saving.loaded = true;
      last = now;
      return;
    }
    last = now;
    clearTimeout(saving.timer);
    saving.timer = setTimeout(() => saveUi(), SAVE_AFTER);
  });
  const atOnce = (settings) => call('save_ui', settings); // there is no time to wait
  addEventListener('pagehide', () => saving.timer && saveUi(atOnce));
}

/** Stores what is remembered now. */
export function saveUi(keep = keepUi) {
  clearTimeout(store.memory.saving.timer);
  store.memory.saving.timer = 0;
  // taste is not worth an error; the next change tries again
  return keep({ settings: snapshot(), project: store.memory.stream.project }).catch(() => undefined);
}

/** Keeps the page's theme in step with the choice and with the system. */
export function startTheme() {
  const apply = () => {
    const choice = store.theme.value;
    document.documentElement.dataset.theme = choice === 'system' ? (dark.matches ? 'dark' : 'light') : choice;
  };
  effect(apply);
  dark.addEventListener('change', apply);
}
