// Owns the forms: entries as typed, what is wrong with them, what is sent of them. Every form is a list of fields
// (`store.specs`) with its entries (`store.forms`); the program describes the settings, schemas.js the other forms.
import { cleanEntry } from './clean.js';
import { t } from './i18n.js';
import { closeReview } from './reviewing.js';
import * as store from './store.js';

const SECRET = 'api_key';
/** Where a form is filled in; fields of settings may stand elsewhere. */
const PLACE = { config: 'connect', plan: 'connect', rule: 'set', set: 'set', guard: 'run', trial: 'try' };
const ELSEWHERE = { user_prompt: 'run', input_path: 'connect' };
const UNTOUCHED = { api_url: 'https://api.openai.com/v1/chat/completions', model_name: 'grok-imagine-1.0-edit' };

/** The id of a control: names are unique but for those of sets and trials. */
export const fieldId = (form, name) => (['set', 'trial'].includes(form) ? `field-${form}-${name}` : `field-${name}`);
export const specOf = (form, name) => store.specs[form].peek().find((one) => one.name === name);

const isNumber = (spec) => spec.type === 'integer' || spec.type === 'number';

/** A value as its control shows it. */
export function shown(spec, value) {
  if (spec.type === 'boolean') return Boolean(value);
  if (spec.type !== 'object' && spec.type !== 'array') return String(value ?? '');
  return Object.keys(value ?? {}).length ? JSON.stringify(value, null, 2) : '';
}

/** What is stored, as the form shows it: nobody has chosen the service and the model of a fresh program. */
function storedEntries() {
  const config = store.config.value;
  const fresh = !config.api_key && Object.entries(UNTOUCHED).every(([name, value]) => config[name] === value);
  const now = fresh ? { ...config, api_url: '', model_name: '' } : config;
  return Object.fromEntries(
    store.specs.config.value.map((spec) => [spec.name, shown(spec, now[spec.name] ?? spec.default)]),
  );
}

/** Fills the settings from a configuration; without one from what is stored. */
export function fillSettings(config = null) {
  const stored = storedEntries();
  const given = config
    ? Object.fromEntries(
        store.specs.config.peek().map((spec) => [spec.name, shown(spec, config[spec.name] ?? spec.default)]),
      )
    : {};
  store.forms.config.value = { ...stored, ...given };
  clearErrors('config');
}

/** Changes one entry; its error is looked at again. */
export function enter(form, name, value) {
  store.forms[form].value = { ...store.forms[form].peek(), [name]: value };
  setNote(form, name, '');
  if (store.fieldErrors.peek()[`${form}.${name}`]) check(form, name);
}

/** A field is left: what was pasted with the entry is taken off, and what is wrong is told. */
export function leave(form, name) {
  const entered = store.forms[form].peek();
  const cleaned = cleanEntry(name, entered[name], entered);
  if (cleaned.value !== entered[name]) enter(form, name, cleaned.value);
  setNote(form, name, cleaned.notes.map((note) => t(`page.clean.${note}`)).join(' '));
  check(form, name);
}

function setNote(form, name, text) {
  const { [`${form}.${name}`]: before, ...others } = store.fieldNotes.peek();
  if (before !== undefined || text) store.fieldNotes.value = text ? { ...others, [`${form}.${name}`]: text } : others;
}

/** An entry as it is sent. Throws SyntaxError for what is no JSON. */
function read(spec, raw) {
  if (isNumber(spec)) {
    const text = String(raw).trim();
    if (text === '' && (spec.empty || spec.default === null)) return null;
    return text !== '' && Number.isFinite(Number(text)) ? Number(text) : raw;
  }
  if (spec.type === 'object' || spec.type === 'array') {
    return String(raw).trim() === '' ? (spec.default ?? {}) : JSON.parse(raw);
  }
  return raw;
}

/** What is wrong with one entry as typed, in words; '' for nothing. */
export function entryProblem(spec, raw) {
  if (spec.required && !String(raw).trim()) return t('page.field.required');
  if (spec.type === 'object' || spec.type === 'array') {
    try {
      const value = read(spec, raw);
      return typeof value === 'object' && value !== null && Array.isArray(value) === (spec.type === 'array')
        ? ''
        : t('page.field.notJson');
    } catch {
      return t('page.field.notJson');
    }
  }
  if (spec.name === SECRET && /[^\x21-\x7e]/.test(String(raw).trim())) return t('page.field.unprintable');
  return isNumber(spec) ? numberProblem(spec, read(spec, raw)) : '';
}

function numberProblem(spec, value) {
  if (value === null) return '';
  if (typeof value !== 'number' || (spec.type === 'integer' && !Number.isInteger(value))) {
    return t('page.field.notNumber');
  }
  const [low, high] = [spec.minimum ?? -Infinity, spec.maximum ?? Infinity];
  if (value >= low && value <= high) return '';
  return Number.isFinite(high) ? t('page.field.range', { min: low, max: high }) : t('page.field.least', { min: low });
}

/** Looks at one entry and shows or clears its error. */
export function check(form, name) {
  const spec = specOf(form, name);
  if (spec && !spec.required) setError(form, name, entryProblem(spec, store.forms[form].peek()[name] ?? ''));
  else setError(form, name, '');
}

/** Shows an error at a field; an empty text clears it. */
export function setError(form, name, message) {
  const { [`${form}.${name}`]: before, ...others } = store.fieldErrors.peek();
  if (message) store.fieldErrors.value = { ...others, [`${form}.${name}`]: message };
  else if (before !== undefined) store.fieldErrors.value = others;
}

/** Forgets what was wrong with a form. */
export function clearErrors(form) {
  const errors = Object.entries(store.fieldErrors.peek()).filter(([key]) => !key.startsWith(`${form}.`));
  store.fieldErrors.value = Object.fromEntries(errors);
}

/** A form's entries as they are sent; null where one cannot be (`quiet`: without telling). */
export function readForm(form, { quiet = false } = {}) {
  const values = {};
  const entered = store.forms[form].peek();
  for (const spec of store.specs[form].peek()) {
    const raw = cleanEntry(spec.name, entered[spec.name] ?? shown(spec, spec.default), entered).value;
    const problem = entryProblem(spec, raw);
    if (problem && quiet) return null;
    if (problem) {
      showError(form, spec.name, problem);
      return null;
    }
    values[spec.name] = read(spec, raw);
  }
  return values;
}

/** The settings as entered, or null where one of them or one of `needed` is missing. */
export function readSettings({ quiet = false, needed = ['api_url'] } = {}) {
  const config = store.specs.config.peek().length ? readForm('config', { quiet }) : null;
  if (!config) return null;
  const missing = needed.find((name) => !config[name]?.trim());
  if (!missing) return config;
  if (!quiet) showError('config', missing, t('page.field.required'));
  return null;
}

/** Shows an error at its field, wherever that stands. */
export function showError(form, name, message) {
  setError(form, name, message);
  showField(form, name);
}

/** Goes to where a field stands, opens what hides it and puts the focus there. */
export function showField(form, name) {
  const id = fieldId(form, name);
  const find = () => document.getElementById(id);
  if (store.review.peek()) closeReview();
  if (!find()?.checkVisibility()) {
    store.folds.value = { ...store.folds.peek(), [form]: true };
    if (!find()) store.place.value = ELSEWHERE[name] ?? PLACE[form];
  }
  const focus = (left) => {
    if (find()) find().focus();
    else if (left) requestAnimationFrame(() => focus(left - 1)); // drawn with the next picture
  };
  requestAnimationFrame(() => focus(10));
}

/** Shows a refusal at its field in one of these forms; false where none of them has it. */
export function showRefusal(error, forms) {
  const form = error.field && forms.find((one) => specOf(one, error.field));
  if (form) showError(form, error.field, error.message);
  return Boolean(form);
}

/** True where the settings hold something else than what is stored. */
export function isDirty() {
  const entered = store.forms.config.value;
  return Object.entries(storedEntries()).some(([name, stored]) => {
    if (entered[name] === undefined) return false;
    return name === SECRET ? entered[name] !== '' && entered[name] !== stored : entered[name] !== stored;
  });
}

/** What of the settings is typed and not stored, without the key; null where nothing is. */
export function draft() {
  if (!store.specs.config.peek().length || !isDirty()) return null;
  const { [SECRET]: _, ...form } = store.forms.config.value;
  return form;
}
