// Owns the forms: entries as typed, what is wrong with them, what is sent of them. Every form is a list of fields
// (`store.specs`) with its entries (`store.forms`), as the program describes it.
import { cleanEntry } from './clean.js';
import { t } from './i18n.js';
import { closeReview } from './reviewing.js';
import { shown } from './schemas.js';
import * as store from './store.js';

const SECRET = 'api_key';
/** Where a form is filled in; fields of settings may stand elsewhere. */
const PLACE = {
  config: 'connect',
  judge: 'connect',
  plan: 'connect',
  rule: 'set',
  set: 'set',
  guard: 'run',
  trial: 'try',
};
const ELSEWHERE = { user_prompt: 'run', budget: 'run', delivery: 'run', alarm_limit: 'run' };
const OWN_FOLD = ['recipe', 'endpoints'];
const ALIKE = ['set', 'trial', 'judge']; // forms that have fields of the same names as others
const UNTOUCHED = { api_url: 'https://api.openai.com/v1/chat/completions', model_name: 'grok-imagine-1.0-edit' };

/** The id of a control: names are unique but for those of sets and trials. */
export const fieldId = (form, name) => (ALIKE.includes(form) ? `field-${form}-${name}` : `field-${name}`);
export const specOf = (form, name) => store.specs[form].peek().find((one) => one.name === name);

const isNumber = (spec) => spec.type === 'integer' || spec.type === 'number';

const entriesOf = (form, config) =>
  Object.fromEntries(
    store.specs[form].value.map((spec) => [spec.name, shown(spec, config[spec.name] ?? spec.default)]),
  );

/** What is stored, as the form shows it: nobody has chosen the service and the model of a fresh program. */
function storedEntries(form = 'config') {
  const config = (form === 'judge' ? store.judge.value : store.config.value) ?? {};
  const fresh = !config.api_key && config.api_url === UNTOUCHED.api_url;
  const chosen = form === 'config' ? config.model_name !== UNTOUCHED.model_name : config.model_name;
  return entriesOf(form, fresh && !chosen ? { ...config, api_url: '', model_name: '' } : config);
}

/** Fills the settings from a configuration; without one from what is stored. */
export function fillSettings(config = null, form = 'config') {
  store.forms[form].value = config ? entriesOf(form, config) : storedEntries(form);
  clearErrors(form);
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
  const told = store.faultPlaces.peek()[`${form}.${name}`]; // a path is the program's own finding
  if (typeof told !== 'string') check(form, name);
}

function setNote(form, name, text) {
  const { [`${form}.${name}`]: before, ...others } = store.fieldNotes.peek();
  if (before !== undefined || text) store.fieldNotes.value = text ? { ...others, [`${form}.${name}`]: text } : others;
}

const isJson = (spec) => ['object', 'array'].includes(spec.type) && !['numbers', 'counts'].includes(spec.kind);

/** The rows, name and number as typed, of a field that holds numbers by name; as text they are JSON of either form. */
export function rowsOf(text) {
  try {
    const value = JSON.parse(text || '[]');
    return (Array.isArray(value) ? value : Object.entries(value)).map((row) => row.map(String));
  } catch {
    return [];
  }
}

const filledRows = (raw) => rowsOf(raw).filter(([name, count]) => name.trim() || count.trim());

function readNumber(spec, raw) {
  const text = String(raw).trim();
  if (text === '' && (spec.default ?? null) === null) return null;
  if (text === '' || !Number.isFinite(Number(text))) return raw;
  return spec.kind === 'share' ? Number(text) / 100 : Number(text);
}

/** An entry as it is sent. Throws SyntaxError for what is no JSON. */
function read(spec, raw) {
  if (isNumber(spec)) return readNumber(spec, raw);
  if (spec.kind === 'counts') {
    return Object.fromEntries(filledRows(raw).map(([name, count]) => [name.trim(), readNumber(spec, count)]));
  }
  if (spec.kind === 'numbers') return (String(raw).match(/[^\s,，;]+/g) ?? []).map((one) => readNumber(spec, one));
  if (spec.type === 'object' || spec.type === 'array') {
    return String(raw).trim() === '' ? (spec.default ?? {}) : JSON.parse(raw);
  }
  return raw;
}

/** What is wrong with one entry as typed, in words; '' for nothing. */
export function entryProblem(spec, raw) {
  if (spec.required && !String(raw).trim()) return t('page.field.required');
  if (isJson(spec)) {
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
  if (spec.kind === 'counts') return countsProblem(spec, filledRows(raw));
  if (spec.kind === 'numbers')
    return (
      read(spec, raw)
        .map((one) => numberProblem(spec, one))
        .find(Boolean) ?? ''
    );
  return isNumber(spec) ? numberProblem(spec, read(spec, raw)) : '';
}

/** What is wrong with rows of a name and a whole number. */
function countsProblem(spec, rows) {
  const names = rows.map(([name]) => name.trim());
  if (names.includes('')) return t('page.counts.unnamed');
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) return t('page.counts.twice', { name: twice });
  const whole = { ...spec, type: 'integer' };
  return rows.map(([, count]) => numberProblem(whole, Number(count.trim() || NaN))).find(Boolean) ?? '';
}

function numberProblem(spec, value) {
  if (value === null) return '';
  if (typeof value !== 'number' || (spec.type === 'integer' && !Number.isInteger(value))) {
    return t('page.field.notNumber');
  }
  const [low, high] = [spec.minimum ?? -Infinity, spec.maximum ?? Infinity];
  if (value >= low && value <= high) return '';
  const scale = spec.kind === 'share' ? 100 : 1;
  const [min, max] = [low * scale, high * scale];
  return Number.isFinite(high) ? t('page.field.range', { min, max }) : t('page.field.least', { min });
}

/** Looks at one entry and shows or clears its error. */
export function check(form, name) {
  const spec = specOf(form, name);
  const raw = store.forms[form].peek()[name] ?? '';
  const problem = spec && !spec.required ? entryProblem(spec, raw) : '';
  setError(form, name, problem, problem && isJson(spec) ? syntaxFault(raw) : null);
}

/** Where a text stops being JSON, as far as this browser says so; null for nowhere. */
function syntaxFault(text) {
  try {
    JSON.parse(text);
  } catch (error) {
    const at = /position (\d+)/.exec(error.message);
    return at && Number(at[1]);
  }
  return null;
}

/** Shows an error at a field; an empty text clears it. `place`: path or offset of the fault inside a JSON text. */
export function setError(form, name, message, place = null) {
  const key = `${form}.${name}`;
  const { [key]: before, ...others } = store.fieldErrors.peek();
  const { [key]: _, ...places } = store.faultPlaces.peek();
  if (message) store.fieldErrors.value = { ...others, [key]: message };
  else if (before !== undefined) store.fieldErrors.value = others;
  store.faultPlaces.value = message && place !== null ? { ...places, [key]: place } : places;
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
      showError(form, spec.name, problem, isJson(spec) ? syntaxFault(raw) : null);
      return null;
    }
    values[spec.name] = read(spec, raw);
  }
  return values;
}

/** The settings as entered, or null where one of them or one of `needed` is missing. */
export function readSettings({ quiet = false, needed = ['api_url'], form = 'config' } = {}) {
  const config = store.specs[form].peek().length ? readForm(form, { quiet }) : null;
  if (!config) return null;
  const missing = needed.find((name) => !config[name]?.trim());
  if (!missing) return config;
  if (!quiet) showError(form, missing, t('page.field.required'));
  return null;
}

/** Shows an error at its field, wherever that stands. */
export function showError(form, name, message, place = null) {
  setError(form, name, message, place);
  showField(form, name);
}

/** Goes to where a field stands, opens what hides it and puts the focus there. */
export function showField(form, name) {
  const id = fieldId(form, name);
  const find = () => document.getElementById(id);
  if (store.review.peek()) closeReview();
  if (!find()?.checkVisibility()) {
    store.folds.value = { ...store.folds.peek(), [OWN_FOLD.includes(name) ? name : form]: true };
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
  if (!form) return false;
  showError(form, error.field, error.message, error.params?.path);
  if (error.params?.path) requestAnimationFrame(() => pointAt(form, error.field));
  return true;
}

/** Begin and end of what is wrong inside a JSON text, by an offset or a path such as `job.url` or `a.pictures[0]`. */
export function faultIn(text, place) {
  if (typeof place === 'number')
    return [Math.max(0, Math.min(place, text.length - 1)), Math.min(place + 1, text.length)];
  let from = 0;
  let found = null;
  for (const name of place?.match(/[^.[\]]+/g) ?? []) {
    const at = text.indexOf(`"${name}"`, from);
    if (at < 0) continue;
    from = at + name.length + 2;
    found = [at, from];
  }
  return found;
}

/** Marks in the text of a field what is wrong with it. */
export function pointAt(form, name) {
  const box = document.getElementById(fieldId(form, name));
  const found = box && faultIn(box.value, store.faultPlaces.peek()[`${form}.${name}`]);
  if (!found) return;
  box.focus();
  box.setSelectionRange(...found);
  box.scrollTop = box.scrollHeight * (found[0] / box.value.length) - box.clientHeight / 2;
}

/** True where the settings hold something else than what is stored. */
export function isDirty(form = 'config') {
  const entered = store.forms[form].value;
  return Object.entries(storedEntries(form)).some(([name, stored]) => {
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
