// Owns the place Judge: the filter with its counts beside the list of pairs.
import { useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { html, Icon } from '../html.js';
import { capital, failureKind, number, t } from '../i18n.js';
import { canJudge, loadJudge, loadReport, openCalibration, openScores } from '../judging.js';
import { setFilter } from '../list.js';
import { foundKinds, openAndCheck } from '../sets.js';
import * as store from '../store.js';
import { Fold } from './form.js';
import { Pairs } from './pairs.js';
import { Histogram, scoreText } from './scores.js';
import { JudgeLine, Toolbar } from './toolbar.js';

const DECISIONS = ['undecided', 'decided', 'dropped'];
const MARKS = ['ticked', 'unticked', 'warning'];
const STATES = ['pending', 'processing', 'done', 'partial_success', 'failed', 'stopped'];
const LONG = 60; // letters of a prompt or folder

const flip = (list, one) => (list.includes(one) ? list.filter((other) => other !== one) : [...list, one]);

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

const SOON = 400; // ms after the last key
const LATER = 2500; // ms between two looks at the scores while decisions fall

/** Keeps the plot of scores in step with the judge and with decisions. */
function useReport() {
  useEffect(() => {
    loadJudge().catch(() => undefined); // the list stands without a judge
    loadReport().catch(() => undefined);
  }, []);
  useSignalEffect(() => {
    void [store.job.value?.status, store.job.value?.done, store.undoStack.value];
    const timer = setTimeout(() => loadReport().catch(() => undefined), LATER);
    return () => clearTimeout(timer);
  });
}

function Bound({ part, label }) {
  const timer = useRef(0);
  const typed = (event) => {
    const text = event.currentTarget.value;
    clearTimeout(timer.current);
    if (text === '' || (Number(text) >= 0 && Number(text) <= 10)) {
      timer.current = setTimeout(() => setFilter({ [part]: text }), SOON);
    }
  };
  return html`<label><span>${label}</span> <input type="number" min="0" max="10" step="0.5" inputmode="decimal"
    id=${part} value=${store.filter.value[part]} onInput=${typed} /></label>`;
}

function Scores() {
  const report = store.judgeReport.value;
  const filter = store.filter.value;
  useReport();
  if (!report?.judged && filter.score_min === '' && filter.score_max === '') {
    return canJudge() && store.taskCount.value > 0
      ? html`<div class="facets"><button type="button" class="link" onClick=${openScores}>${t('page.judge.first')}
          </button></div>`
      : null;
  }
  const pass = report?.pass_score ?? 7;
  const lines = [{ at: pass, label: `${t('page.judge.pass')} ${scoreText(pass)}` }];
  const share = report?.agreement ?? null;
  return html`<fieldset class="facets scores"><legend>${t('page.judge.scores')}</legend>
    ${report && html`<${Histogram} all=${report.histogram} lines=${lines} />`}
    <p class="bounds"><${Bound} part="score_min" label=${t('page.judge.from')} />
      <${Bound} part="score_max" label=${t('page.judge.to')} /></p>
    <p class="small"><span class="muted">${lines[0].label}${
      share !== null && ` · ${t('page.judge.agrees', { share: Math.round(share * 100) })}`
    }</span> <button type="button" class="link" onClick=${openCalibration}>${t('page.judge.calibrate')}</button></p>
      </fieldset>`;
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
    <${Scores} /><${Findings} />
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
      onClick=${toggle}><${Icon} name="filter" size=${14} />${t('page.filter')}</button><//><${JudgeLine} />
      <${Pairs} /></div></div>`;
}
