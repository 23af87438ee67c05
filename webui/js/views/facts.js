// Owns what Connect shows beside the form: the test's facts, models to pick from, the request, one real picture.
import { withQuery } from '../api.js';
import { canProbe, probe } from '../connections.js';
import { enter } from '../form.js';
import { html, Icon } from '../html.js';
import { clock, number, problemText, t } from '../i18n.js';
import { costOf, start } from '../run.js';
import * as store from '../store.js';

function Fact({ text }) {
  return html`<li><${Icon} name="check" size=${14} class="good" />${text}</li>`;
}

/** What to do next, by the code of what went wrong. */
const ADVICE = {
  key_refused: 'key',
  access_refused: 'key',
  api_key_required: 'key',
  model_unknown: 'model',
  model_unsuited: 'model',
  answer_web_page: 'address',
  endpoint_unknown: 'address',
  address_private: 'local',
  proxy_failed: 'proxy',
  connect_failed: 'proxy',
  timed_out: 'proxy',
};

function Refused({ problem }) {
  const advice = ADVICE[problem?.code];
  return html`${
    advice &&
    html`<p><b>${t(`connect.advice.${advice}`)}</b>
    </p>`
  }<p dir="auto">${problemText(problem)}</p>`;
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
  const completed = result.completed_url && result.completed_url !== result.url;
  return html`<section class=${`panel ${good ? 'passed' : 'refused'}`} role="status"><header>
      <${Icon} name=${good ? 'circle-check' : 'circle-x'} /><h3>${t(good ? 'page.test.passed' : 'page.test.refused')}
        </h3><span class="muted">${t('page.test.free')}</span><span class="spring"></span>
      <span class="muted">${result.at ? clock(result.at) : ''}</span></header>
    ${
      good
        ? html`<ul class="facts-list">
          <${Fact} text=${t('page.test.good', { status: String(result.http_status ?? '–') })} />
          ${completed && html`<${Fact} text=${t('connect.completed', { url: result.completed_url })} />`}
          ${models.length > 0 && html`<${Fact} text=${t('page.test.models', { count: models.length })} />`}</ul>`
        : html`<${Refused} problem=${result.problem} />`
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
        onClick=${() => enter('config', 'model_name', one)}><bdi>${one}</bdi>
        ${one === chosen && html`<${Icon} name="check" size=${14} class="good" />`}</button></li>`,
    )}</ul></section>`;
}

function parsed(recipe) {
  try {
    return JSON.parse(recipe || '{}');
  } catch {
    return {};
  }
}

/** An address of a recipe, which may be relative to the API URL; its placeholders stay as they are. */
function resolved(address, base) {
  try {
    return new URL(address, base).href.replaceAll('%7B%7B', '{{').replaceAll('%7D%7D', '}}');
  } catch {
    return base; // not finished
  }
}

/** The key's header and the body of a recipe as they will be filled in; else what the mode sends. */
function requestLines() {
  const { api_url: url = '', model_name: model, api_key: key, recipe } = store.forms.config.value;
  const described = parsed(recipe);
  const { request = {} } = described;
  const header = described.key?.header ?? 'Authorization';
  const value = (described.key?.value ?? 'Bearer {{api_key}}').replace('{{api_key}}', '********');
  const body = request.json ?? request.form;
  return [
    url && `${request.method ?? 'POST'} ${resolved(request.url ?? '', url).replaceAll('{{model}}', model)}`,
    key || store.config.value.api_key ? `${header}: ${value}` : '',
    body ? JSON.stringify(body, null, 2).replaceAll('{{model}}', model) : model && `model: ${model}`,
  ].filter(Boolean);
}

function Sending() {
  const [first, ...rest] = requestLines();
  if (!first) return null;
  const [method, ...target] = first.split(' ');
  return html`<section class="panel"><header><h3>${t('page.connect.sending')}</h3></header>
    <pre class="request" dir="ltr" tabindex="0"><b>${method}</b> ${[target.join(' '), ...rest].join('\n')}</pre>
      </section>`;
}

function ProbeResult({ id }) {
  const task = store.taskSignal(id)?.value;
  if (!task) return null;
  const [result] = task.results;
  const busy = ['pending', 'processing'].includes(task.status);
  const open = () => {
    store.debugTask.value = id;
  };
  const sized = (url) => withQuery(url, { size: 256 });
  return html`<div class="probe"><img src=${sized(task.source_thumbnail_url)} alt=${t('page.source')} />
    ${result && html`<img src=${sized(result.thumbnail_url)} alt=${t('page.result')} />`}
    <div><p>${busy && html`<${Icon} name="loader" class="turning" size=${14} />`} ${t(`page.status.${task.status}`)}</p>
      ${result && html`<p class="muted small">${result.width}×${result.height}</p>`}
      ${task.last_error && html`<p class="bad small" dir="auto">${task.last_error}</p>`}
      <button type="button" class="link" onClick=${open}>${t('page.log')}</button></div></div>`;
}

function Probe() {
  if (!canProbe()) return null;
  const found = store.probe.value;
  const cost = costOf(1, store.forms.config.value);
  return html`<section class="panel"><header><h3>${t('connect.probe')}</h3>
      <span class="muted">${t('connect.probe.hint')}${cost && ` · ${cost}`}</span><span class="spring"></span>
      <button type="button" class="button small" onClick=${probe}
        disabled=${store.busy.value.has('probe') || store.running.value}><${Icon} name="play" size=${14} />
        ${t(found ? 'connect.probe.again' : 'connect.probe.do')}</button></header>
    ${found && html`<${ProbeResult} id=${found.task} />`}</section>`;
}

async function startDemo() {
  store.place.value = 'run';
  await start();
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

function Way() {
  return html`<section class="panel"><header><h3>${t('page.welcome.title')}</h3></header><ol class="steps">
    ${store.PLACES.map((one) => html`<li key=${one}><b>${t(`page.place.${one}`)}</b> ${t(`page.welcome.${one}`)}</li>`)}
  </ol></section>`;
}

export function Facts() {
  const fresh = store.taskCount.value === 0 || !store.forms.config.value.api_url;
  return html`<${Result} /><${Models} /><${Probe} />${fresh && html`<${Demo} />`}<${Sending} />
    ${fresh && html`<${Way} />`}`;
}
