// Owns the place Connect: a service or a connection of one's own, the fields that it needs, its test; and the folder.
import { useRef } from 'preact/hooks';
import {
  applyPreset,
  applyTemplate,
  deletePreset,
  exportPresets,
  importPresets,
  savePresetAs,
  saveSettings,
  testConnection,
} from '../connections.js';
import { isLocal } from '../clean.js';
import { enter, fillSettings, isDirty } from '../form.js';
import { html, Icon, IconButton } from '../html.js';
import { has, number, problemText, t } from '../i18n.js';
import { start } from '../run.js';
import * as store from '../store.js';
import { Field, Fields, Fold, namesOf } from './form.js';
import { Found } from './found.js';
import { openMenu } from './menu.js';

const FIRST = ['api_key', 'model_name'];
const NUMBERS = ['result_count', 'concurrency_limit', 'price_per_call'];
const ELSEWHERE = ['user_prompt', 'delivery', 'batch_provider', 'budget'];
const PLAN = ['prompt_table', 'variants', 'references', 'fresh'];

function connectionMenu(event, current, file) {
  openMenu(event.currentTarget, t('page.preset.more'), [
    { icon: 'download', label: t('page.preset.export'), run: exportPresets },
    { icon: 'upload', label: t('page.preset.import'), run: () => file.click() },
    null,
    {
      icon: 'trash-2',
      label: t('page.preset.delete'),
      danger: true,
      disabled: !current,
      run: () => deletePreset(current),
    },
  ]);
}

function Mine() {
  const file = useRef(null);
  const names = Object.keys(store.presets.value).sort((a, b) => a.localeCompare(b, store.language.value));
  const current = names.includes(store.presetName.value) ? store.presetName.value : '';
  const chosen = (event) => {
    const [one] = event.currentTarget.files;
    event.currentTarget.value = '';
    if (one) importPresets(one);
  };
  return html`<div class="rail-head"><h2>${t('page.preset.mine')}</h2>
      <${IconButton} icon="save" label=${t('page.preset.saveAs')} onClick=${savePresetAs} />
      <${IconButton} icon="ellipsis" label=${t('page.preset.more')} aria-haspopup="menu"
        onClick=${(event) => connectionMenu(event, current, file.current)} /></div>
    <ul class="connections">${names.map(
      (name) => html`<li key=${name}><button type="button" class="choice" aria-pressed=${name === current}
        onClick=${() => applyPreset(name)}><${Icon} name="plug" size=${14} /><bdi>${name}</bdi></button></li>`,
    )}${!names.length && html`<li class="muted small">${t('page.preset.none')}</li>`}</ul>
    <input type="file" accept="application/json,.json" hidden ref=${file} aria-label=${t('page.preset.import')}
      onChange=${chosen} />`;
}

/** Starting points by their group, in the order in which the program gives them. */
function groups() {
  const found = new Map();
  for (const one of store.templates.value) {
    const name = one.group && has(`template.group.${one.group}`) ? one.group : '';
    found.set(name, [...(found.get(name) ?? []), one]);
  }
  return [...found];
}

function Services() {
  return groups().map(
    ([group, all]) => html`<div class="rail-head" key=${group}><h2>
        ${group ? t(`template.group.${group}`) : t('page.preset.templates')}</h2></div>
      <ul class="services">${all.map(
        (one) => html`<li key=${one.id}><button type="button" class="choice" title=${one.name}
          aria-pressed=${store.service.value === one.id} onClick=${() => applyTemplate(one)}>${one.name}</button></li>`,
      )}</ul>`,
  );
}

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

function Address() {
  const { api_url: url = '', proxy, unlock_local_api_url: unlocked } = store.forms.config.value;
  const local = unlocked || isLocal(url) || Boolean(store.fieldErrors.value['config.api_url']);
  return html`<${Field} form="config" name="api_url" placeholder="https://" />
    ${local && html`<${Field} form="config" name="unlock_local_api_url" />`}
    ${proxy && html`<${Field} form="config" name="proxy" />`}`;
}

function More() {
  const { proxy, unlock_local_api_url: unlocked, api_url: url = '' } = store.forms.config.value;
  const shown = [...FIRST, ...NUMBERS, 'api_url', ...ELSEWHERE, ...(proxy ? ['proxy'] : [])];
  if (unlocked || isLocal(url) || store.fieldErrors.value['config.api_url']) shown.push('unlock_local_api_url');
  const names = store.specs.config.value.map((spec) => spec.name).filter((name) => !shown.includes(name));
  return html`<${Fold} name="config" title=${t('page.fold.more')} summary=${namesOf('config', names.slice(0, 6))}>
    <div class="fields"><${Fields} form="config" names=${names} help=${true} /></div><//>`;
}

function Deeds() {
  const dirty = isDirty();
  const busy = store.busy.value;
  return html`<div class="form-deeds"><button type="button" class="button" onClick=${testConnection}
      disabled=${busy.has('test')}><${Icon} name="plug" />${t('page.test')}</button>
    ${
      dirty &&
      html`<button type="button" class="button" onClick=${saveSettings}>${t('page.config.save')}</button>
        <button type="button" class="button plain" onClick=${() => fillSettings()}>${t('page.config.discard')}</button>`
    }
    <span class="spring"></span>
    <button type="button" class="button primary" onClick=${goOn}><${Icon} name="arrow-right" />
      ${t('page.connect.goTry', { count: Number(store.forms.trial.value.sample) || 5 })}</button></div>`;
}

function goOn() {
  store.place.value = 'try';
}

function Pictures() {
  return html`<section class="pictures-part"><h2>${t('page.part.input')}</h2>
    <${Field} form="plan" name="input_path" /><${Found} />
    <${Fold} name="plan" title=${t('page.fold.more')} summary=${namesOf('plan', PLAN)}>
      <div class="fields"><${Fields} form="plan" names=${PLAN} help=${true} /></div><//></section>`;
}

function Fact({ good, text }) {
  return html`<li><${Icon} name=${good ? 'check' : 'circle-alert'} size=${14} class=${good ? 'good' : 'bad'} />${text}
    </li>`;
}

function Result() {
  const result = store.testResult.value;
  if (store.busy.value.has('test')) {
    return html`<section class="panel"><p class="note"><${Icon} name="loader" class="turning" />${t('page.test.busy')}
      </p></section>`;
  }
  if (!result) return null;
  const good = result.reachable && !result.problem;
  const models = result.models ?? [];
  return html`<section class=${`panel ${good ? 'passed' : 'refused'}`} role="status"><header>
      <${Icon} name=${good ? 'circle-check' : 'circle-x'} /><h3>${t(good ? 'page.test.passed' : 'page.test.refused')}
        </h3>
      <span class="muted">${t('page.test.free')}</span></header>
    ${
      good
        ? html`<ul class="facts-list"><${Fact} good
          text=${t('page.test.good', { status: String(result.http_status ?? '–') })} />
          ${models.length > 0 && html`<${Fact} good text=${t('page.test.models', { count: models.length })} />`}</ul>`
        : html`<p dir="auto">${problemText(result.problem)}</p>`
    }</section>`;
}

const nameOf = (model) => (typeof model === 'string' ? model : (model.id ?? model.name));

function Models() {
  const models = (store.testResult.value?.models ?? []).map(nameOf);
  if (!models.length) return null;
  const chosen = store.forms.config.value.model_name;
  return html`<datalist id="models">${models.map((one) => html`<option key=${one} value=${one} />`)}</datalist>
    <section class="panel"><header><h3>${t('config.model_name.label')}</h3>
      <span class="muted">${number(models.length)}</span></header>
    <ul class="models" tabindex="0" aria-label=${t('config.model_name.label')}>${models.map(
      (one) => html`<li key=${one}><button type="button" class="choice mono" aria-pressed=${one === chosen}
        onClick=${() => enter('config', 'model_name', one)}>${one}</button></li>`,
    )}</ul></section>`;
}

function Sending() {
  const { api_url: url, model_name: model, api_key: key } = store.forms.config.value;
  if (!url) return null;
  return html`<section class="panel"><header><h3>${t('page.connect.sending')}</h3></header>
    <pre class="request" dir="ltr"><b>POST</b> ${url}
${key ? 'Authorization: Bearer ********' : ''}
${model ? `model: ${model}` : ''}</pre></section>`;
}

function Demo() {
  const busy = store.busy.value.has('start');
  if (!store.demo.value) {
    return html`<section class="panel"><header><h3>${t('page.demo.tryTitle')}</h3></header>
      <p>${t('page.demo.tryText')} <code>./start.sh --demo</code></p></section>`;
  }
  return html`<section class="panel passed"><header><${Icon} name="play" /><h3>${t('page.demo.readyTitle')}</h3>
    </header>
    <p>${t('page.demo.readyText')}</p>
    <button type="button" class="button primary" onClick=${startDemo} disabled=${busy}><${Icon} name="play" />
      ${t('page.demo.start')}</button></section>`;
}

async function startDemo() {
  store.place.value = 'run';
  await start();
}

function Way() {
  return html`<section class="panel"><header><h3>${t('page.welcome.title')}</h3></header><ol class="steps">
    ${store.PLACES.map((one) => html`<li key=${one}><b>${t(`page.place.${one}`)}</b> ${t(`page.welcome.${one}`)}</li>`)}
  </ol></section>`;
}

export function Connect() {
  const fresh = store.taskCount.value === 0 || !store.forms.config.value.api_url;
  return html`<div class="connect-rail" id="services" tabindex="-1"><${Mine} /><${Services} /></div>
    <div class="connect-form"><${Title} />
      <${Field} form="config" name="api_key" /><${Field} form="config" name="model_name" list="models" />
      <div class="three"><${Fields} form="config" names=${NUMBERS} /></div>
      <${Address} /><${More} /><${Deeds} /><${Pictures} /></div>
    <div class="connect-facts"><${Result} /><${Models} /><${Sending} />
      ${fresh && html`<${Demo} /><${Way} />`}</div>`;
}
