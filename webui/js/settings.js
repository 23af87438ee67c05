// Owns the settings form and what is remembered on the program's side: drafts, recent paths, taste.
import { effect } from '@preact/signals';
import { call, storing } from './api.js';
import { hearAgain } from './events.js';
import { nearest, setLanguage, t } from './i18n.js';
import * as store from './store.js';

const SAVE_AFTER = 600; // ms
const RECENT = 12;
const SECRET = 'api_key';

let saveTimer = 0;
let loaded = false;

/* ---- the form ---- */

/** A setting as the form shows it. */
function shown(spec, value) {
  if (spec.type === 'object') return Object.keys(value ?? {}).length ? JSON.stringify(value, null, 2) : '';
  return spec.type === 'boolean' ? Boolean(value) : String(value ?? '');
}

/** Fills the form from a configuration. */
export function fillForm(config) {
  store.form.value = Object.fromEntries(store.schema.peek().map((spec) => [spec.name, shown(spec, config[spec.name] ?? spec.default)]));
  store.fieldErrors.value = {};
}

/** Changes one entry of the form; its error is looked at again. */
export function enter(name, value) {
  store.form.value = { ...store.form.peek(), [name]: value };
  if (store.fieldErrors.peek()[name]) checkEntry(name);
}

function read(spec, raw) {
  if (spec.type === 'integer' || spec.type === 'number') {
    const text = String(raw).trim();
    return text !== '' && Number.isFinite(Number(text)) ? Number(text) : raw;
  }
  if (spec.type === 'object') return String(raw).trim() === '' ? {} : JSON.parse(raw);
  return raw;
}

/** What is wrong with one entry as typed: {code, params, message} or null. */
export function entryProblem(spec, raw) {
  const params = { name: t(spec.label), minimum: spec.minimum, maximum: spec.maximum, value: raw };
  if (spec.type === 'object') {
    try {
      const value = read(spec, raw);
      if (typeof value !== 'object' || Array.isArray(value) || value === null) throw new SyntaxError();
    } catch {
      return { code: 'not_json', params, message: t('page.field.notJson') };
    }
    return null;
  }
  if (spec.type !== 'integer' && spec.type !== 'number') return null;
  const value = read(spec, raw);
  if (typeof value !== 'number' || (spec.type === 'integer' && !Number.isInteger(value))) {
    return { code: 'field_type', params, message: t('page.field.notNumber') };
  }
  const low = spec.minimum !== undefined && spec.minimum !== null && value < spec.minimum;
  const high = spec.maximum !== undefined && spec.maximum !== null && value > spec.maximum;
  if (!low && !high) return null;
  const text = spec.maximum ? t('page.field.range', { min: spec.minimum, max: spec.maximum }) : t('page.field.least', { min: spec.minimum });
  return { code: 'field_range', params, message: text };
}

/** Looks at one entry and shows or clears its error. */
export function checkEntry(name) {
  const spec = store.schema.peek().find((one) => one.name === name);
  if (spec) setFieldError(name, entryProblem(spec, store.form.peek()[name])?.message);
}

/** Shows an error at a control; an empty text clears it. */
export function setFieldError(name, message) {
  const errors = { ...store.fieldErrors.peek() };
  if (message) errors[name] = message;
  else delete errors[name];
  store.fieldErrors.value = errors;
}

/** The configuration as entered, or null when an entry cannot be sent (its error then stands at the field). */
export function formConfig() {
  const config = {};
  const errors = {};
  for (const spec of store.schema.peek()) {
    const raw = store.form.peek()[spec.name];
    const problem = entryProblem(spec, raw);
    if (problem) errors[spec.name] = problem.message;
    else config[spec.name] = read(spec, raw);
  }
  store.fieldErrors.value = errors;
  const first = Object.keys(errors)[0];
  if (first) showField(first);
  return first ? null : config;
}

/** The configuration as entered, or null while an entry cannot be sent; says nothing about it. */
export function quietConfig() {
  const specs = store.schema.peek();
  if (!specs.length || specs.some((spec) => entryProblem(spec, store.form.peek()[spec.name]))) return null;
  return Object.fromEntries(specs.map((spec) => [spec.name, read(spec, store.form.peek()[spec.name])]));
}

/** Opens what hides a control and puts the focus there. */
export function showField(name) {
  store.sideOpen.value = true;
  const spec = store.schema.peek().find((one) => one.name === name);
  if (spec && spec.group !== 'often') store.folds.value = { ...store.folds.peek(), [spec.group]: true };
  setTimeout(() => document.getElementById(`field-${name}`)?.focus(), 50);
}

/** Shows a refusal at its field; false where it has none that this page shows. */
export function showFieldError(error) {
  const field = error.field;
  if (!field || !(document.getElementById(`field-${field}`) || store.schema.peek().some((one) => one.name === field))) return false;
  setFieldError(field, error.message);
  showField(field);
  return true;
}

/** True where the form holds something else than the stored configuration. */
export function isDirty() {
  const config = store.config.value;
  const form = store.form.value;
  return store.schema.value.some((spec) => {
    const entered = form[spec.name];
    if (entered === undefined) return false;
    const stored = shown(spec, config[spec.name] ?? spec.default);
    if (spec.name === SECRET) return entered !== '' && entered !== stored;
    return entered !== stored;
  });
}

/* ---- remembered on the program's side ---- */

function draft() {
  if (!store.schema.peek().length || !isDirty()) return null;
  const form = { ...store.form.value };
  delete form[SECRET];
  return form;
}

function snapshot() {
  return {
    language: store.language.value,
    theme: store.theme.value,
    side_open: store.sideOpen.value,
    folds: store.folds.value,
    thumb_size: store.thumbSize.value,
    sort: { sort: store.filter.value.sort, desc: store.filter.value.desc },
    input_path: store.inputPath.value,
    plan: { ...store.plan.value, fresh: false },
    output_dir: store.outputDir.value,
    recent_paths: store.recentPaths.value,
    recent_outputs: store.recentOutputs.value,
    rule_id: store.ruleId.value,
    preset: store.presetName.value,
    notify: store.notify.value,
    set_form: { ...store.setForm.value, report: '', only_filtered: false },
    review_mode: store.reviewMode.value,
    draft: draft(),
  };
}

/** Takes over what was remembered and keeps remembering from now on. */
export function remember(settings) {
  const put = (target, value) => {
    if (value !== undefined && value !== null) target.value = value;
  };
  put(store.theme, settings.theme);
  put(store.sideOpen, settings.side_open);
  put(store.folds, settings.folds);
  put(store.thumbSize, settings.thumb_size);
  if (settings.sort) store.filter.value = { ...store.filter.peek(), ...settings.sort };
  put(store.inputPath, settings.input_path);
  put(store.plan, settings.plan);
  put(store.outputDir, settings.output_dir);
  put(store.recentPaths, settings.recent_paths);
  put(store.recentOutputs, settings.recent_outputs);
  put(store.ruleId, settings.rule_id);
  put(store.presetName, settings.preset);
  put(store.notify, settings.notify);
  if (settings.set_form) store.setForm.value = { ...store.setForm.peek(), ...settings.set_form };
  put(store.reviewMode, settings.review_mode);
}

/** From now on each change of what is remembered is stored, a moment later. */
export function startRemembering() {
  let last = '';
  effect(() => {
    const now = JSON.stringify(snapshot());
    if (!loaded) {
      loaded = true;
      last = now;
      return;
    }
    if (now === last) return;
    last = now;
    clearTimeout(saveTimer);
    saveTimer = setTimeout(() => saveUi(), SAVE_AFTER);
  });
  addEventListener('pagehide', () => saveTimer && saveUi((settings) => call('save_ui', settings))); // no time to wait
}

const keepUi = storing('save_ui');

function saveUi(keep = keepUi) {
  clearTimeout(saveTimer);
  saveTimer = 0;
  keep({ settings: snapshot() }).catch(() => undefined); // taste is not worth an error; the next change tries again
}

/** Puts a path on top of a list of recent ones. */
export function pushRecent(list, path) {
  if (path) list.value = [path, ...list.peek().filter((one) => one !== path)].slice(0, RECENT);
}

/* ---- taste ---- */

const dark = matchMedia('(prefers-color-scheme: dark)');

/** Keeps the page's theme in step with the choice and with the system. */
export function startTheme() {
  const apply = () => {
    const choice = store.theme.value;
    document.documentElement.dataset.theme = choice === 'system' ? (dark.matches ? 'dark' : 'light') : choice;
  };
  effect(apply);
  dark.addEventListener('change', apply);
}

/** Speaks another language from now on. */
export async function chooseLanguage(lang) {
  const chosen = nearest(lang);
  await setLanguage(chosen);
  await hearAgain();
  const { fields } = await call('describe_config');
  if (store.language.peek() === chosen) store.schema.value = fields;
}
