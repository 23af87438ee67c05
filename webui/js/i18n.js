// Owns words, numbers and dates in the chosen language; the catalogues come from the program.
import { call, speak } from './api.js';
import { asked, catalogue, language, memory } from './store.js';

export const LANGUAGES = { 'zh-CN': '中文', en: 'English' };

/** The nearest language that there is a catalogue for. */
export function nearest(tag) {
  if (tag in LANGUAGES) return tag;
  return (tag ?? '').toLowerCase().startsWith('zh') ? 'zh-CN' : 'en';
}

/** Loads the catalogue of `lang` and makes the whole page speak it. */
export async function setLanguage(lang) {
  const stands = asked.language();
  speak(lang);
  const { messages } = await call('get_messages', { language: lang });
  if (!stands()) return; // another was chosen meanwhile
  memory.formats = makeFormats(lang);
  language.value = lang;
  catalogue.value = messages;
  document.documentElement.lang = lang;
}

function makeFormats(lang) {
  return {
    number: new Intl.NumberFormat(lang),
    one: new Intl.NumberFormat(lang, { maximumFractionDigits: 1 }),
    money: new Intl.NumberFormat(lang, { maximumFractionDigits: 3 }),
    cents: new Intl.NumberFormat(lang, { minimumFractionDigits: 2, maximumFractionDigits: 4 }),
    plural: new Intl.PluralRules(lang),
    date: new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'medium' }),
    clock: new Intl.DateTimeFormat(lang, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }),
  };
}

/** True where the catalogue has this key. */
export function has(key) {
  return key in catalogue.value;
}

/** The text of `key` with its {placeholders} filled; `count` chooses between .one and .other. */
export function t(key, params = {}) {
  const words = catalogue.value;
  let text = words[key];
  if ('count' in params)
    text = words[`${key}.${memory.formats.plural?.select(params.count) ?? 'other'}`] ?? words[`${key}.other`] ?? text;
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = params[name];
    if (value === undefined || value === null) return whole;
    return typeof value === 'number' ? number(value) : String(value);
  });
}

/** Words of a failure: the program's; ours only where the program could not be reached. */
export function problemText(problem) {
  if (!problem) return '';
  return problem.message || (problem.code === 'server_gone' ? t('page.gone') : problem.code);
}

/** The kind of a failure in a word or two. */
export function failureKind(code) {
  const key = [`page.failure.${code}`, `cause.${code}`].find(has);
  return key ? t(key) : code;
}

/** A text that begins as a sentence does. */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const number = (value) => memory.formats.number?.format(value) ?? String(value);
export const oneDigit = (value) => memory.formats.one?.format(value) ?? String(value);
export const money = (value) => memory.formats.money?.format(value) ?? String(value);
/** An amount in dollars of which parts of a cent count. */
export const cents = (value) => memory.formats.cents?.format(value) ?? String(value);
export const dateTime = (seconds) => memory.formats.date?.format(seconds * 1000) ?? '';
export const clock = (seconds) => memory.formats.clock?.format(seconds * 1000) ?? '';

/** Bytes in the unit that keeps the number short. */
export function bytes(value) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${value >= 100 || at === 0 ? number(Math.round(value)) : oneDigit(value)} ${units[at]}`;
}

/** Seconds as a person says them. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t('page.time.seconds', { n: whole });
  if (whole < 3600) return t('page.time.minutes', { n: Math.floor(whole / 60), s: whole % 60 });
  return t('page.time.hours', { n: Math.floor(whole / 3600), m: Math.floor((whole % 3600) / 60) });
}
