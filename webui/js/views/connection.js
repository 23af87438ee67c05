// Owns the form of the connection for edits: only what the service needs, the rest under More; and the folder.
import { knows } from '../api.js';
import { isLocal } from '../clean.js';
import { saveSettings, testConnection } from '../connections.js';
import { enter, fillSettings, isDirty } from '../form.js';
import { html, Icon, IconButton } from '../html.js';
import { has, t } from '../i18n.js';
import { jobText, openPrompts } from '../judging.js';
import * as store from '../store.js';
import { Field, Fields, Fold, namesOf } from './form.js';
import { Found } from './found.js';

const FIRST = ['api_key', 'model_name', 'api_url', 'unlock_local_api_url'];
const NUMBERS = ['result_count', 'concurrency_limit', 'price_per_call'];
const IN_RUN = ['user_prompt', 'delivery', 'batch_provider', 'budget', 'alarm_limit'];
const PARTS = ['recipe', 'endpoints']; // shown in parts of their own
const PLAN = ['prompt_table', 'variants', 'references', 'fresh'];
const DOOR = ['api_url', 'api_key', 'model_name', 'weight', 'concurrency_limit'];

const hasField = (name) => store.specs.config.value.some((spec) => spec.name === name);

function Title() {
  const template = store.templates.value.find((one) => one.id === store.service.value);
  const name = store.presetName.value || template?.name || t('page.connect.own');
  const notes = template && has(template.notes_key) ? t(template.notes_key) : t('page.connect.hint');
  return html`<div class="connect-title"><h2><bdi>${name}</bdi></h2>
    ${
      template?.key_url &&
      html`<a href=${template.key_url} target="_blank" rel="noreferrer">${t('page.connect.getKey')}
      <${Icon} name="external-link" size=${13} /></a>`
    }</div><p class="muted small">${notes}</p>`;
}

/** The switch for a local address stands beside it as soon as it is needed, and after a refusal. */
export function Address({ form }) {
  const { api_url: url = '', proxy, unlock_local_api_url: unlocked } = store.forms[form].value;
  const local = unlocked || isLocal(url) || Boolean(store.fieldErrors.value[`${form}.api_url`]);
  return html`<${Field} form=${form} name="api_url" placeholder="https://" />
    ${local && html`<${Field} form=${form} name="unlock_local_api_url" />`}
    ${proxy && html`<${Field} form=${form} name="proxy" />`}`;
}

/** Which fields of a form stand under More. */
export function furtherNames(form, shown) {
  const { proxy } = store.forms[form].value;
  return store.specs[form].value
    .map((spec) => spec.name)
    .filter((name) => ![...FIRST, ...shown, ...(proxy ? ['proxy'] : [])].includes(name));
}

function doors() {
  try {
    const all = JSON.parse(store.forms.config.value.endpoints || '[]');
    return Array.isArray(all) ? all : [];
  } catch {
    return [];
  }
}

const keepDoors = (all) => enter('config', 'endpoints', all.length ? JSON.stringify(all, null, 2) : '');

function Door({ door, at, all }) {
  const put = (name) => (event) => {
    const text = event.currentTarget.value.trim();
    const value = ['weight', 'concurrency_limit'].includes(name) ? Number(text) || 1 : text;
    keepDoors(all.map((one, place) => (place === at ? { ...one, [name]: value } : one)));
  };
  return html`<li class="door">${DOOR.map(
    (name) => html`<label key=${name} class=${`door-${name}`}><span>${t(`connect.door.${name}`)}</span>
      <input type=${name === 'api_key' ? 'password' : 'text'} autocomplete="off" spellcheck=${false}
        value=${door[name] ?? ''} onChange=${put(name)} /></label>`,
  )}<${IconButton} icon="trash-2" label=${t('connect.door.remove', { n: at + 2 })}
      onClick=${() => keepDoors(all.filter((_, place) => place !== at))} /></li>`;
}

/** Further doors to the same service: other keys, other relays, each with its own limit. */
function Doors() {
  if (!hasField('endpoints')) return null;
  const all = doors();
  const add = () =>
    keepDoors([
      ...all,
      {
        api_url: store.forms.config.value.api_url,
        api_key: '',
        model_name: '',
        weight: 1,
        concurrency_limit: Number(store.forms.config.value.concurrency_limit) || 3,
      },
    ]);
  const error = store.fieldErrors.value['config.endpoints'];
  return html`<${Fold} name="endpoints" title=${t('connect.doors')} open=${all.length > 0 || Boolean(error)}
      summary=${all.length ? t('connect.doors.count', { count: all.length + 1 }) : t('connect.doors.hint')}>
    <p class="muted small">${t('connect.doors.hint')}</p>
    <ul class="doors" id="field-endpoints" tabindex="-1">${all.map(
      (door, at) => html`<${Door} key=${at} door=${door}
      at=${at} all=${all} />`,
    )}</ul>
    ${error && html`<p class="field-error"><${Icon} name="circle-alert" size=${14} />${error}</p>`}
    <button type="button" class="button" onClick=${add}><${Icon} name="plus" />${t('connect.doors.add')}</button><//>`;
}

/** The recipe as it is written; what is wrong with it is told, and marked in the text. */
function Recipe() {
  const { recipe, api_mode: mode } = store.forms.config.value;
  if (!hasField('recipe')) return null;
  const wrong = Boolean(store.fieldErrors.value['config.recipe']);
  const used = Boolean(recipe) || mode === 'recipe';
  return html`<${Fold} name="recipe" title=${t('config.recipe.label')} open=${wrong || (used && !store.service.value)}
      summary=${t(recipe ? 'connect.recipe.used' : 'connect.recipe.none')}>
    <div class="fields"><${Field} form="config" name="recipe" help=${true} /></div><//>`;
}

function More() {
  const names = furtherNames('config', [...NUMBERS, ...IN_RUN, ...PARTS]);
  return html`<${Fold} name="config" title=${t('page.fold.more')} summary=${namesOf('config', names.slice(0, 6))}>
    <div class="fields"><${Fields} form="config" names=${names} help=${true} /></div><//>`;
}

function goOn() {
  store.place.value = 'try';
}

function Deeds() {
  return html`<div class="form-deeds"><button type="button" class="button" onClick=${testConnection}
      disabled=${store.busy.value.has('test')}><${Icon} name="plug" />${t('page.test')}</button>
    ${
      isDirty() &&
      html`<button type="button" class="button" onClick=${saveSettings}>${t('page.config.save')}</button>
        <button type="button" class="button plain" onClick=${() => fillSettings()}>${t('page.config.discard')}</button>`
    }</div>`;
}

/** A table of prompts may be written by a model: one for each picture found. */
function WritePrompts() {
  if (!knows('write_prompts') || !store.inspection.value?.count) return null;
  const job = store.job.value;
  const writes = job?.kind === 'prompts' && job.status === 'running';
  return html`<button type="button" class="button small" disabled=${writes} onClick=${openPrompts}>
    <${Icon} name=${writes ? 'loader' : 'file-text'} size=${14} class=${writes ? 'turning' : ''} />
    ${writes ? jobText(job) : t('page.prompts.write')}</button>`;
}

/** The folder stands here too: the first run then needs no other place. */
export function Pictures() {
  return html`<section class="panel pictures-part"><h2>${t('page.part.input')}</h2>
    <${Field} form="plan" name="input_path" /><${Found} />
    <${Fold} name="plan" title=${t('page.fold.more')} summary=${namesOf('plan', PLAN)}>
      <div class="fields"><${Fields} form="plan" names=${PLAN} help=${true} /></div><${WritePrompts} /><//>
    <button type="button" class="button primary" onClick=${goOn}><${Icon} name="arrow-right" />
      ${t('page.connect.goTry', { count: Number(store.forms.trial.value.sample) || 5 })}</button></section>`;
}

/** Where the key lies, and to whom alone it goes. */
export function KeyPlace({ form }) {
  const { api_url: url = '' } = store.forms[form].value;
  const host = /^https?:\/\/([^/]+)/.exec(url)?.[1];
  const place = store.keyStore.value;
  if (!host) return null;
  const words = place && has(`connect.keyStore.${place}`) ? t(`connect.keyStore.${place}`) : '';
  return html`<p class="key-place muted small"><${Icon} name="info" size=${13} />
    ${[words, t('connect.keyGoes', { host })].filter(Boolean).join(' ')}</p>`;
}

export function Connection() {
  return html`<${Title} /><${Field} form="config" name="api_key" /><${KeyPlace} form="config" />
    <${Field} form="config" name="model_name" list="models" />
    <div class="three"><${Fields} form="config" names=${NUMBERS} /></div>
    <${Address} form="config" /><${Recipe} /><${Doors} /><${More} /><${Deeds} />`;
}
