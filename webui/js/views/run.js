// Owns the place Run: the slip of what will be sent, the figures while it goes, and what stopped or failed afterwards.
import { useEffect, useRef } from 'preact/hooks';
import { withQuery } from '../api.js';
import { openCosts } from '../costs.js';
import { enter, isDirty } from '../form.js';
import { html, Icon } from '../html.js';
import { duration, failureKind, money, number, t } from '../i18n.js';
import { fresh, setFilter } from '../list.js';
import { costOf, resume, retryFailures, retryFailuresWithPrompt, start } from '../run.js';
import * as store from '../store.js';
import { Field, Fields } from './form.js';
import { Calls, FirstTasks, Unreadable, Warnings } from './found.js';
import { Pairs } from './pairs.js';
import { Remote } from './remote.js';
import { SelectionBar } from './toolbar.js';

const CHIPS = ['', 'processing', 'done', 'partial_success', 'failed', 'pending', 'stopped'];
const IN_FLIGHT = 8; // calls shown in the strip

const go = (place) => () => {
  store.place.value = place;
};

function Part({ name, deed, label, children }) {
  return html`<section class=${`slip-part slip-${name}`}><header><h2>${t(`page.slip.${name}`)}</h2>
    ${deed && html`<button type="button" class="link" onClick=${deed}>${label}</button>`}</header>${children}
      </section>`;
}

function Fact({ name, children }) {
  return html`<div class="fact"><dt>${name}</dt><dd>${children}</dd></div>`;
}

function Pictures() {
  const found = store.inspection.value;
  const path = store.forms.plan.value.input_path;
  const change = { deed: go('connect'), label: t('page.slip.change') };
  if (!found || found.busy) {
    return html`<${Part} name="pictures" ...${change}><p class="muted">
      ${found?.busy ? t('page.input.looking') : t('page.input.required')}</p><//>`;
  }
  const variants = store.forms.plan.value.variants;
  return html`<${Part} name="pictures" ...${change}><p class="path"><bdi title=${path}>${path}</bdi></p>
    <dl><${Fact} name=${t('page.slip.found')}>${t('page.input.pictures', { count: found.count })}<//>
      ${
        found.reused > 0 &&
        html`<${Fact} name=${t('page.slip.known')}>
        <span class="good">${t('page.slip.notPaid', { count: found.reused })}</span><//>`
      }
      ${Number(variants) > 1 && html`<${Fact} name=${t('page.plan.variants')}>${variants}<//>`}</dl>
    <${Unreadable} found=${found} /><${Warnings} found=${found} /><//>`;
}

function Prompt() {
  const table = store.forms.plan.value.prompt_table.trim();
  const system = store.forms.config.value.system_prompt;
  return html`<${Part} name="prompt" deed=${go('try')} label=${t('page.place.try')}>
    <${Field} form="config" name="user_prompt" label=${t('page.slip.promptWhole')} />
    ${table && html`<p class="small warn">${t('page.slip.table')} <bdi>${table}</bdi></p>`}
    ${system && html`<p class="small muted" dir="auto">${t('config.system_prompt.label')}: ${system}</p>`}<//>`;
}

function Connection() {
  const {
    model_name: model,
    api_url: url = '',
    result_count: results,
    concurrency_limit: at,
  } = store.forms.config.value;
  const host = /^https?:\/\/([^/]+)/.exec(url)?.[1] ?? url;
  return html`<${Part} name="connection" deed=${go('connect')} label=${t('page.slip.change')}><dl>
    <${Fact} name=${t('page.slip.server')}><bdi title=${url}>${host || '–'}</bdi><//>
    <${Fact} name=${t('config.model_name.label')}><bdi class="mono">${model || '–'}</bdi><//>
    <${Fact} name=${t('config.result_count.label')}>${results}<//>
    <${Fact} name=${t('config.concurrency_limit.label')}>${at}<//></dl><//>`;
}

/** Both deliveries in one line, as far as their prices are known. */
function Compared({ found }) {
  const { price_now: live, price_batch: batch, pace_now: pace, batch_hours: hours } = found ?? {};
  if (!live) return null;
  const key = pace ? 'page.slip.livePaced' : 'page.slip.live';
  const words = [t(key, { price: money(live), pace: number(Math.round(pace)) })];
  if (batch) words.push(t('page.slip.orBatch', { price: money(batch), hours }));
  return html`<p class="small compared">${words.join(' ')}</p>`;
}

/** Now or by the provider's batches, each with its price for all calls; batches only where there are some. */
function Delivery() {
  const found = store.inspection.value;
  const chosen = store.forms.config.value.delivery ?? 'now';
  const error = store.fieldErrors.value['config.delivery'];
  const prices = { now: found?.price_now, batch: found?.price_batch };
  const offered = found?.count > 0 && found.batch_provider === null && chosen !== 'batch' ? ['now'] : ['now', 'batch'];
  return html`<${Part} name="delivery"><div role="radiogroup" class="deliveries" id="field-delivery" tabindex="-1"
      aria-label=${t('config.delivery.label')}>${offered.map(
        (one) => html`<label key=${one} class="delivery"><input type="radio" name="delivery" value=${one}
          checked=${chosen === one} onChange=${() => enter('config', 'delivery', one)} />
          <span>${t(`config.choice.delivery.${one}`)}</span>${prices[one] > 0 && html`<b>${money(prices[one])}</b>`}
        </label>`,
      )}</div>
    ${error && html`<p class="field-error"><${Icon} name="circle-alert" size=${14} />${error}</p>`}
    <${Compared} found=${found} />
    ${
      chosen === 'batch'
        ? html`<${Field} form="config" name="batch_provider" /><${Field} form="plan" name="batch_size" />
          <p class="small muted">${t('page.slip.batchHint', { hours: found?.batch_hours ?? 24 })}</p>`
        : offered.length === 1 && html`<p class="small muted">${t('page.slip.noBatch')}</p>`
    }<//>`;
}

const hasField = (name) => store.specs.config.value.some((spec) => spec.name === name);
const hasDelivery = () => hasField('delivery');

function Guards() {
  const found = store.inspection.value;
  const calls = found?.calls ?? 0;
  const cost = costOf(calls, store.forms.config.value);
  const stale = store.inspectionStale.value; // the calls are counted anew: a start waits for that
  const open = store.progress.value.pending + store.progress.value.stopped;
  return html`<${Part} name="guards" deed=${openCosts} label=${t('page.costs.open')}><div class="guards">
      <${Fields} form="config" names=${['budget', 'budget_day', 'alarm_limit'].filter(hasField)} />
      <${Fields} form="guard" names=${['ask_above', 'ask_price']} /></div>
    <button type="button" class="button primary wide" onClick=${start} disabled=${store.busy.value.has('start')}
      aria-busy=${stale}><${Icon} name=${stale ? 'loader' : 'play'} class=${stale ? 'turning' : ''} />
      ${found?.count ? t('page.run.startCalls', { count: calls }) : t('page.start')}</button>
    ${cost && html`<p class="small muted">${cost}</p>`}
    ${open > 0 && html`<p class="small muted">${t('page.run.openBeside', { count: open })}</p>`}<//>`;
}

function Slip() {
  return html`<div class=${`slip ${hasDelivery() ? 'with-delivery' : ''}`}><${Pictures} /><${Prompt} /><${Connection} />
    ${hasDelivery() && html`<${Delivery} />`}<${Guards} /></div>`;
}

/** The slip in one line: what is being sent, or was sent last. */
function Line() {
  const { user_prompt: prompt, model_name: model } = store.forms.config.value;
  const open = store.folds.value.slip;
  const flip = () => {
    store.folds.value = { ...store.folds.peek(), slip: !open };
  };
  return html`<div class="slip-line"><b>${t('page.slip.sent')}</b><span>${number(store.progress.value.total)}</span>
    <span class="slip-prompt" dir="auto" title=${prompt}>${prompt || t('page.prompt.none')}</span>
    <bdi class="mono">${model}</bdi>
    ${isDirty() && html`<span class="warn">${t('page.config.changed')}</span>`}
    <button type="button" class="link" aria-expanded=${Boolean(open)} onClick=${flip}>
      ${t(open ? 'page.slip.fold' : 'page.slip.unfold')}</button></div>`;
}

function Verbs({ code }) {
  const busy = store.busy.value.has('retry_failed') || store.busy.value.has('retry_prompt');
  return html`<span class="verbs"><button type="button" class="button small" disabled=${busy}
      onClick=${() => retryFailuresWithPrompt(code)}>${t('page.retry.withPrompt')}</button>
    <button type="button" class="button small" disabled=${busy} onClick=${() => retryFailures(code)}>
      <${Icon} name="repeat-2" size=${14} />${t('page.retry.asItIs')}</button></span>`;
}

/** What failed, by kind, each with what can be done about it. */
function Failures() {
  const { failed } = store.progress.value;
  const kinds = Object.entries(store.facets.value?.failures ?? {});
  if (!failed) return null;
  const only = () => setFilter({ ...store.NO_FILTER, status: ['failed'] });
  return html`<section class="outcome failed"><header><${Icon} name="circle-x" />
      <h2>${t('page.status.failed')} ${number(failed)}</h2>
      <button type="button" class="link" onClick=${only}>${t('page.run.onlyFailed')}</button></header>
    <ul>${kinds.map(
      ([
        code,
        count,
      ]) => html`<li key=${code}><b>${failureKind(code)}</b><span class="kind-count">${number(count)}</span>
        <${Verbs} code=${code} /></li>`,
    )}</ul></section>`;
}

/** What was stopped: it did not fail, and can go on. */
function Stopped() {
  const { stopped, pending } = store.progress.value;
  const open = stopped + (store.running.value ? 0 : pending);
  if (!open || store.running.value) return null;
  const cost = costOf(open);
  return html`<section class="outcome stopped"><header><${Icon} name="octagon-pause" />
      <h2>${t('page.status.stopped')} ${number(open)}</h2><span class="muted">${t('page.run.notFailed')}</span></header>
    <p class="muted small">${t('page.run.continueWith')}</p>
    <button type="button" class="button primary" disabled=${store.busy.value.has('resume')} onClick=${resume}>
      <${Icon} name="rotate-cw" />${t('page.run.continue', { count: open })}${cost && ` · ${cost}`}</button></section>`;
}

function Outcomes() {
  const { failed, stopped } = store.progress.value;
  if (store.running.value || (!failed && !stopped)) return null;
  return html`<div class="outcomes"><${Failures} /><${Stopped} /></div>`;
}

function Flying({ id }) {
  const task = store.taskSignal(id)?.value;
  const now = store.live.value[id];
  useEffect(() => {
    if (!task) fresh(id).catch(() => undefined);
  }, [id]);
  const stage = now?.stage ? t(`page.stage.${now.stage}`) : '';
  return html`<li>${task && html`<img src=${withQuery(task.source_thumbnail_url, { size: 128 })} alt="" />`}
    <span><bdi>${task?.source_name ?? ''}</bdi><br /><span class="muted">
      ${stage.startsWith('page.') || !stage ? t('page.status.processing') : stage}
      ${typeof now?.percent === 'number' ? ` ${now.percent} %` : ''}</span></span>
    <i class="mini-bar"><i style=${{ width: `${now?.percent ?? 0}%` }}></i></i></li>`;
}

/** Where there are several doors to the service: what each takes, and which rests. */
function Doors() {
  const doors = store.run.value?.doors ?? [];
  if (!store.running.value || doors.length < 2) return null;
  return html`<ul class="door-lines small" aria-label=${t('connect.doors')}>${doors.map(
    (one, at) => html`<li key=${at}><bdi title=${one.url}>${/^https?:\/\/([^/]+)/.exec(one.url)?.[1] ?? one.url}</bdi>
      <bdi class="mono muted">${one.model}</bdi>
      <span>${t('page.run.door', { count: one.in_flight, limit: one.limit })}</span>
      ${one.paused && html`<span class="warn">${t('page.run.doorRests', { time: duration(one.seconds) })}</span>`}
      ${one.refused > 0 && html`<span class="warn">${t('page.run.doorRefused', { count: one.refused })}</span>`}
      ${one.cost > 0 && html`<span class="muted">${money(one.cost)}</span>`}</li>`,
  )}</ul>`;
}

/** The machines that make the calls, where there are some. */
function Machines() {
  const found = store.cluster.value;
  if (!found) return null;
  return html`<ul class="door-lines small" aria-label=${t('page.run.cluster')}><li><bdi>${found.address}</bdi>
      <span class=${found.workers ? '' : 'warn'}>${t('page.run.workers', { count: found.workers })}</span>
      <span>${t('page.run.threads', { count: found.threads })}</span>
      <span>${t('page.run.underWay', { count: found.in_flight })}</span>
      ${
        found.lost_workers > 0 &&
        html`<span class="warn">${t('page.run.lostWorkers', { count: found.lost_workers })}</span>`
      }</li></ul>`;
}

/** The calls in flight. */
function Flights() {
  const ids = Object.keys(store.live.value).slice(0, IN_FLIGHT);
  if (!ids.length) return null;
  return html`<ul class="in-flight" aria-label=${t('page.run.inFlight')}>
    ${ids.map((id) => html`<${Flying} key=${id} id=${id} />`)}</ul>`;
}

function Chips() {
  const chosen = store.filter.value.status;
  const progress = store.progress.value;
  const chips = CHIPS.filter((one) => !one || progress[one] || chosen.includes(one));
  return html`<div class="chips" role="group" aria-label=${t('page.filter')}>${chips.map(
    (one) => html`<button type="button" class="chip-button" key=${one}
      aria-pressed=${one ? chosen.includes(one) : !store.filtered.value}
      onClick=${() => setFilter({ ...store.NO_FILTER, status: one ? [one] : [] })}>
      ${one ? t(`page.status.${one}`) : t('page.run.all')} <b>${number(one ? progress[one] : progress.total)}</b>
    </button>`,
  )}</div>`;
}

function Ready() {
  const found = store.inspection.value;
  if (!found?.prompts?.length) return html`<p class="place-note muted">${t('page.run.nothingYet')}</p>`;
  return html`<div class="ready"><${Calls} found=${found} /><${FirstTasks} found=${found} /></div>`;
}

export function Run() {
  const tasks = store.taskCount.value > 0;
  const rests = useRests();
  const folded = tasks && store.folds.value.slip !== true && rests;
  const some = store.selectionCount.value > 0;
  return html`${folded ? html`<${Line} />` : html`<${Slip} />`}
    ${!folded && tasks && store.folds.value.slip === true && html`<${Line} />`}
    <${Outcomes} /><${Remote} /><${Machines} /><${Doors} />
    ${
      tasks
        ? html`${some ? html`<${SelectionBar} />` : html`<${Chips} />`}<${Flights} /><${Pairs} />`
        : html`<${Ready} />`
    }`;
}

/** Whether a start would ask for nothing: the slip is then one line. While calls are counted anew it stays as it is,
    and after a run as what the run left says: it moves once, when the run ends, and not under the pointer later. */
function useRests() {
  const last = useRef({ worked: false, rests: null });
  const { failed, stopped, pending } = store.progress.value;
  const calls = store.inspection.value?.calls ?? 0;
  const stale = store.inspectionStale.value;
  let rests = calls === 0;
  if (store.working.value) rests = true;
  else if (isDirty() || store.fieldErrors.value['config.user_prompt']) rests = false;
  else if (stale && last.current.worked) rests = failed + stopped + pending === 0;
  else if (stale) rests = last.current.rests ?? rests;
  last.current = { worked: store.working.value, rests };
  return rests;
}
