// Owns the list's tools: search, count, sort, picture size; and what can be done with the selection in their place.
import { useEffect, useRef } from 'preact/hooks';
import { bulkDecide, bulkDelete } from '../decide.js';
import { deed } from '../deed.js';
import { html, Icon, IconButton } from '../html.js';
import { number, t } from '../i18n.js';
import {
  JUDGE_JOBS,
  jobText,
  openCalibration,
  openCaptions,
  openCompare,
  openRounds,
  openScores,
  openUntick,
  stopJudging,
} from '../judging.js';
import { setFilter } from '../list.js';
import { openUndecided } from '../reviewing.js';
import { bulkRetry, bulkRetryWithPrompt } from '../run.js';
import { saveFiltered, saveSelected } from '../saving.js';
import { selectAll } from '../select.js';
import * as store from '../store.js';
import { openMenu } from './menu.js';

const SORTS = ['order', 'name', 'updated', 'status', 'score'];
const MEASURED = ['change', 'likeness', 'shift', 'zoom', 'colour_drift', 'content_drift']; // by the last preflight
const TYPED = 250; // ms after the last key

function Search() {
  const timer = useRef(0);
  const typed = (event) => {
    const q = event.currentTarget.value.trim();
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setFilter({ q }), TYPED);
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  return html`<label class="search"><span class="for-readers">${t('page.search')}</span>
    <${Icon} name="search" size=${14} /><input id="search" type="search" placeholder=${t('page.search')}
      value=${store.filter.value.q} onInput=${typed} dir="auto" /></label>`;
}

function more(event) {
  const decide = (action) => () => deed(`bulk ${action}`, () => bulkDecide(action));
  openMenu(event.currentTarget, t('page.bulk.more'), [
    { icon: 'check', label: t('page.bulk.decide'), run: decide('decide') },
    { icon: 'square', label: t('page.bulk.untick'), run: decide('untick') },
    { icon: 'rotate-ccw', label: t('page.bulk.restore'), run: decide('restore') },
    { icon: 'eraser', label: t('page.bulk.retryClear'), run: () => bulkRetry(true) },
    null,
    ...judgeDeeds(),
    null,
    {
      icon: 'trash-2',
      label: t('page.bulk.delete'),
      danger: true,
      disabled: store.running.value,
      run: () => deed('bulk delete', bulkDelete),
    },
  ]);
}

/** What the judge can be asked to do, as items of a menu. */
const judgeDeeds = () => [
  { icon: 'scale', label: t('page.judge.score'), run: openScores },
  { icon: 'file-text', label: t('page.caption.write'), run: openCaptions },
  { icon: 'columns-2', label: t('page.judge.compare'), run: openCompare },
];

function judgeMenu(event) {
  openMenu(event.currentTarget, t('page.judge'), [
    ...judgeDeeds(),
    null,
    { icon: 'square', label: t('page.judge.untick'), run: openUntick },
    { icon: 'repeat-2', label: t('page.judge.askAgain'), run: openRounds },
    null,
    { icon: 'list-checks', label: t('page.judge.calibration'), run: openCalibration },
  ]);
}

function Button({ icon, label, onClick }) {
  return html`<button type="button" class="button small" onClick=${onClick}><${Icon} name=${icon} size=${14} />
    <span>${label}</span></button>`;
}

/** What can be done with the selection, at the height of the tools. */
export function SelectionBar() {
  const count = store.selectionCount.value;
  const decide = (action) => () => deed(`bulk ${action}`, () => bulkDecide(action));
  return html`<div class="selection-bar" role="toolbar" aria-label=${t('page.selection')}><${CheckAll} />
    <b>${t('page.selection.count', { count })}</b>
    <${Button} icon="square-check" label=${t('page.bulk.tick')} onClick=${decide('tick')} />
    <${Button} icon="ban" label=${t('page.bulk.drop')} onClick=${decide('drop')} />
    <${Button} icon="repeat-2" label=${t('page.bulk.retry')} onClick=${() => bulkRetry(false)} />
    <${Button} icon="wrench" label=${t('page.retry.withPrompt')} onClick=${bulkRetryWithPrompt} />
    <${Button} icon="save" label=${t('page.bulk.save')} onClick=${saveSelected} />
    <${IconButton} icon="ellipsis" label=${t('page.bulk.more')} aria-haspopup="menu" onClick=${more} />
    <${IconButton} icon="x" label=${t('page.selection.clear')} onClick=${() => selectAll(false)} /></div>`;
}

function CheckAll() {
  const all = store.selectedAll.value || (store.total.value > 0 && store.selection.value.size === store.total.value);
  const some = store.selectionCount.value > 0;
  const box = useRef(null);
  useEffect(() => {
    box.current.indeterminate = some && !all;
  });
  return html`<label class="check-all" title=${t('page.selectAll')}><input type="checkbox" ref=${box} checked=${all}
    aria-label=${t('page.selectAll')} onChange=${() => selectAll(!some)} /></label>`;
}

function Shown() {
  const count = store.total.value;
  if (count === null) return html`<span class="list-count" role="status"></span>`;
  const all = number(store.taskCount.value);
  const text = store.filtered.value ? t('page.list.filtered', { count, total: all }) : t('page.list.count', { count });
  return html`<span class="list-count" role="status">${text}</span>`;
}

function Sort() {
  const { sort, desc } = store.filter.value;
  const option = (one) =>
    html`<option key=${one} value=${one} selected=${one === sort}>${t(`page.sort.${one}`)}</option>`;
  const measured = Boolean(store.findings.value?.at) || MEASURED.includes(sort);
  return html`<label class="sort"><span class="for-readers">${t('page.sort')}</span><select value=${sort}
      onChange=${(event) => setFilter({ sort: event.currentTarget.value })}>${SORTS.map(option)}
      ${measured && html`<optgroup label=${t('page.sort.measured')}>${MEASURED.map(option)}</optgroup>`}
      </select></label>
    <${IconButton} icon=${desc ? 'arrow-down' : 'arrow-up'} label=${t(desc ? 'page.sort.desc' : 'page.sort.asc')}
      onClick=${() => setFilter({ desc: !desc })} />`;
}

export function Toolbar({ children }) {
  if (store.selectionCount.value > 0) return html`<${SelectionBar} />`;
  const resize = (event) => {
    store.thumbSize.value = Number(event.currentTarget.value);
  };
  return html`<div class="toolbar">${children}<${CheckAll} /><${Search} /><${Shown} />
    ${
      store.filtered.value &&
      html`<button type="button" class="button small plain" onClick=${saveFiltered}><${Icon} name="save" size=${14} />
        <span>${t('page.save.filtered')}</span></button>`
    }
    <span class="spring"></span><${Sort} />
    <label class="size" title=${t('page.size')}><${Icon} name="image" size=${14} />
      <input type="range" min="80" max="320"
      step="16" aria-label=${t('page.size')} value=${store.thumbSize.value} onInput=${resize} /></label>
    <button type="button" class="button small" aria-haspopup="menu" onClick=${judgeMenu}>
      <${Icon} name="scale" size=${14} /><span>${t('page.judge')}</span>
      <${Icon} name="chevron-down" size=${14} /></button>
    <button type="button" class="button small primary" onClick=${openUndecided} disabled=${!store.total.value}>
      <${Icon} name="eye" size=${14} />${t('page.review')}</button></div>`;
}

/** The judge at work: how far it is, and its end. */
export function JudgeLine() {
  const job = store.job.value;
  if (job?.status !== 'running' || !JUDGE_JOBS.includes(job.kind)) return null;
  const share = { width: `${job.total ? (100 * job.done) / job.total : 0}%` };
  return html`<div class="judge-line" role="status"><${Icon} name="loader" size=${14} class="turning" />
    <span>${jobText(job)}</span><i class="mini-bar"><i style=${share}></i></i>
    <button type="button" class="button small" onClick=${stopJudging}>${t('dataset.stop')}</button></div>`;
}
