// Owns the place Judge: the filter with its counts beside the list of pairs.
import { html, Icon } from '../html.js';
import { failureKind, number, t } from '../i18n.js';
import { setFilter } from '../list.js';
import { foundKinds, openAndCheck } from '../sets.js';
import * as store from '../store.js';
import { Fold } from './form.js';
import { Pairs } from './pairs.js';
import { Toolbar } from './toolbar.js';

const DECISIONS = ['undecided', 'decided', 'dropped'];
const MARKS = ['ticked', 'unticked', 'warning'];
const STATES = ['pending', 'processing', 'done', 'partial_success', 'failed', 'stopped'];
const LONG = 60; // letters of a prompt or folder

const flip = (list, one) => (list.includes(one) ? list.filter((other) => other !== one) : [...list, one]);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function Choice({ label, count, checked, onChange, title }) {
  return html`<label class="facet" title=${title}><input type="checkbox" checked=${checked} onChange=${onChange} />
    <span class="facet-name" dir="auto">${label}</span>
    ${count !== undefined && count !== null && html`<span class="facet-count">${number(count)}</span>`}</label>`;
}

/** Conditions of one part of the filter: [value, label, count]. */
function Group({ part, title, rows, children }) {
  const chosen = store.filter.value[part];
  if (!rows.length && !children) return null;
  return html`<fieldset class="facets"><legend>${title}</legend>${rows.map(
    ([value, label, count]) => html`<${Choice} key=${value} label=${label} count=${count}
      checked=${chosen.includes(value)}
        onChange=${() => setFilter({ [part]: flip(store.filter.peek()[part], value) })} />`,
  )}${children}</fieldset>`;
}

/** Values of which one may be chosen: prompts, folders. */
function One({ part, rows }) {
  const chosen = store.filter.value[part];
  return html`<div class="facets">${rows.map(
    ([value, count]) => html`<${Choice} key=${value} count=${count} title=${value} checked=${chosen === value}
      label=${value.length > LONG ? `…${value.slice(-LONG)}` : value}
      onChange=${() => setFilter({ [part]: chosen === value ? '' : value })} />`,
  )}</div>`;
}

function Findings() {
  const found = store.foundTasks.value;
  const chosen = store.filter.value.finding;
  const rows = foundKinds(found, chosen).map((one) => [one, capital(t(`finding.${one}`)), found?.[one] ?? 0]);
  return html`<${Group} part="finding" title=${t('page.filter.findings')} rows=${rows}>
    <button type="button" class="link" onClick=${openAndCheck}>${t(found ? 'dataset.checkAgain' : 'dataset.check')}
    </button><//>`;
}

/** Prompts, folders: shown where there is more than one to choose from. */
function Folded({ part, title, counts }) {
  const rows = Object.entries(counts ?? {});
  if (rows.length < 2 && !store.filter.value[part]) return null;
  return html`<${Fold} name=${`filter-${part}`} title=${title} summary=${number(rows.length)}>
    <${One} part=${part} rows=${rows} /><//>`;
}

function Rail() {
  const facets = store.facets.value;
  const only = facets?.only ?? {};
  const failures = Object.entries(facets?.failures ?? {});
  const progress = store.progress.value;
  const states = STATES.filter((one) => progress[one] || store.filter.value.status.includes(one));
  const named = (list) => list.map((one) => [one, t(`page.only.${one}`), only[one]]);
  return html`<aside class="rail" aria-label=${t('page.filter')}><div class="rail-head"><h2>${t('page.filter')}</h2>
      ${
        store.filtered.value &&
        html`<button type="button" class="link" onClick=${() => setFilter(store.NO_FILTER)}>
          ${t('page.filter.clear')}</button>`
      }</div>
    <${Group} part="only" title=${t('page.filter.decision')} rows=${named(DECISIONS)} />
    <${Group} part="status" title=${t('page.filter.status')}
      rows=${states.map((one) => [one, t(`page.status.${one}`), progress[one]])} />
    <${Findings} />
    ${
      failures.length > 0 &&
      html`<${Group} part="failure" title=${t('page.filter.failures')}
        rows=${failures.map(([code, count]) => [code, failureKind(code), count])} />`
    }
    <${Folded} part="prompt" title=${t('page.filter.prompts')} counts=${facets?.prompts} />
    <${Folded} part="folder" title=${t('page.filter.folders')} counts=${facets?.folders} />
    <${Fold} name="filter-marks" title=${t('page.filter.marks')}><${Group} part="only" rows=${named(MARKS)} /><//>
      </aside>`;
}

function Empty() {
  const start = () => {
    store.place.value = 'connect';
  };
  return html`<div class="welcome"><h2>${t('page.judge.nothing')}</h2><p class="muted">${t('page.judge.nothingYet')}</p>
    <button type="button" class="button primary" onClick=${start}>${t('page.place.connect')}</button></div>`;
}

export function Judge() {
  if (store.total.value === 0 && !store.filtered.value) return html`<${Empty} />`;
  const open = store.folds.value.rail ?? false; // on low or narrow screens the filter is opened with a button
  const toggle = () => {
    store.folds.value = { ...store.folds.peek(), rail: !open };
  };
  return html`<div class=${`judge-columns ${open ? 'rail-open' : ''}`}><${Rail} />
    <div class="work"><${Toolbar}><button type="button" class="button small rail-button" aria-expanded=${open}
      onClick=${toggle}><${Icon} name="filter" size=${14} />${t('page.filter')}</button><//><${Pairs} /></div></div>`;
}
