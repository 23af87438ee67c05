// Owns the list's tools: filter, search, sort, picture size; and what can be done with the selection.
import { useEffect, useRef } from 'preact/hooks';
import { bulkRetry, deed, saveFiltered, saveSelected } from '../actions.js';
import { foundKinds, loadFound, openAndCheck, openDataset } from '../dataset.js';
import { bulkDecide, bulkDelete } from '../decide.js';
import { html, Icon, IconButton } from '../html.js';
import { number, t } from '../i18n.js';
import { setFilter } from '../list.js';
import { openUndecided } from '../reviewing.js';
import { selectAll } from '../select.js';
import * as store from '../store.js';
import { openMenu } from './menu.js';

const STATES = ['pending', 'processing', 'done', 'partial_success', 'failed', 'stopped'];
const ONLY = ['undecided', 'decided', 'ticked', 'unticked', 'dropped', 'warning'];
const SORTS = ['order', 'name', 'updated', 'status'];

const flip = (list, one) => (list.includes(one) ? list.filter((other) => other !== one) : [...list, one]);

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

async function filterMenu(event) {
  const button = event.currentTarget;
  await loadFound();
  const now = store.filter.peek();
  const choice = (part, one, label, count) => ({ label, count, many: true, checked: now[part].includes(one), run: () => setFilter({ [part]: flip(now[part], one) }) });
  const found = store.foundTasks.peek();
  const kinds = foundKinds(found, now.finding);
  openMenu(button, t('page.filter'), [
    ...STATES.map((one) => choice('status', one, t(`page.status.${one}`))), null,
    ...ONLY.map((one) => choice('only', one, t(`page.only.${one}`))), kinds.length > 0 && null,
    ...kinds.map((one) => choice('finding', one, capital(t(`finding.${one}`)), found?.[one] ?? 0)),
    null, { icon: 'list-checks', label: t(found ? 'dataset.checkAgain' : 'dataset.check'), run: openAndCheck },
  ]);
}

function Search() {
  const timer = useRef(0);
  const typed = (event) => {
    const q = event.currentTarget.value.trim();
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setFilter({ q }), 250);
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  return html`<label class="search"><span class="for-readers">${t('page.search')}</span><${Icon} name="search" size=${14} />
    <input id="search" type="search" placeholder=${t('page.search')} value=${store.filter.value.q} onInput=${typed} dir="auto" /></label>`;
}

function Chips() {
  const { status, only, finding } = store.filter.value;
  const chip = (key, label, part) => html`<button type="button" class="chip" key=${key} title=${t('page.filter.remove')} onClick=${() => setFilter(part)}>${label}<${Icon} name="x" size=${12} /></button>`;
  return html`${status.map((one) => chip(one, t(`page.status.${one}`), { status: flip(status, one) }))}
    ${only.map((one) => chip(one, t(`page.only.${one}`), { only: flip(only, one) }))}
    ${finding.map((one) => chip(`finding ${one}`, t(`finding.${one}`), { finding: flip(finding, one) }))}`;
}

function SelectionBar() {
  const count = store.selectionCount.value;
  const decide = (action) => () => deed(`bulk ${action}`, () => bulkDecide(action));
  const more = (event) => openMenu(event.currentTarget, t('page.bulk.more'), [
    { icon: 'check', label: t('page.bulk.decide'), run: decide('decide') },
    { icon: 'square', label: t('page.bulk.untick'), run: decide('untick') },
    { icon: 'rotate-ccw', label: t('page.bulk.restore'), run: decide('restore') },
    { icon: 'eraser', label: t('page.bulk.retryClear'), run: () => bulkRetry(true) }, null,
    { icon: 'trash-2', label: t('page.bulk.delete'), danger: true, disabled: store.running.value, run: () => deed('bulk delete', bulkDelete) },
  ]);
  return html`<div class="selection-bar" role="toolbar" aria-label=${t('page.selection')}>
    <b>${t('page.selection.count', { count })}</b>
    <button type="button" class="button small" onClick=${decide('tick')}><${Icon} name="square-check" />${t('page.bulk.tick')}</button>
    <button type="button" class="button small" onClick=${decide('drop')}><${Icon} name="ban" />${t('page.bulk.drop')}</button>
    <button type="button" class="button small" onClick=${() => bulkRetry(false)}><${Icon} name="repeat-2" />${t('page.bulk.retry')}</button>
    <button type="button" class="button small" onClick=${saveSelected}><${Icon} name="save" />${t('page.bulk.save')}</button>
    <${IconButton} icon="ellipsis" label=${t('page.bulk.more')} aria-haspopup="menu" onClick=${more} />
    <${IconButton} icon="x" label=${t('page.selection.clear')} onClick=${() => selectAll(false)} />
  </div>`;
}

export function Toolbar() {
  const { sort, desc } = store.filter.value;
  const all = store.selectedAll.value || (store.total.value > 0 && store.selection.value.size === store.total.value);
  const some = store.selectionCount.value > 0;
  const box = useRef(null);
  useEffect(() => { box.current.indeterminate = some && !all; });
  return html`<div class="toolbar">
    <label class="check-all" title=${t('page.selectAll')}><input type="checkbox" ref=${box} checked=${all} aria-label=${t('page.selectAll')} onChange=${() => selectAll(!some)} /></label>
    <button type="button" class="button small" aria-haspopup="menu" onClick=${filterMenu}><${Icon} name="filter" size=${14} />${t('page.filter')}</button>
    <${Chips} />
    <${Search} />
    <span class="list-count" role="status">${store.total.value === null ? '' : store.filtered.value ? t('page.list.filtered', { count: store.total.value, total: number(store.taskCount.value) }) : t('page.list.count', { count: store.total.value })}</span>
    ${store.filtered.value && html`<button type="button" class="button small plain" onClick=${saveFiltered}><${Icon} name="save" size=${14} />${t('page.save.filtered')}</button>`}
    <span class="spring"></span>
    <label class="sort"><span class="for-readers">${t('page.sort')}</span><select value=${sort} onChange=${(event) => setFilter({ sort: event.currentTarget.value })}>
      ${SORTS.map((one) => html`<option key=${one} value=${one} selected=${one === sort}>${t(`page.sort.${one}`)}</option>`)}</select></label>
    <${IconButton} icon=${desc ? 'arrow-down' : 'arrow-up'} label=${t(desc ? 'page.sort.desc' : 'page.sort.asc')} onClick=${() => setFilter({ desc: !desc })} />
    <label class="size" title=${t('page.size')}><${Icon} name="image" size=${14} /><input type="range" min="80" max="320" step="16" aria-label=${t('page.size')} value=${store.thumbSize.value}
      onInput=${(event) => { store.thumbSize.value = Number(event.currentTarget.value); }} /></label>
    <${IconButton} icon="list-checks" label=${t('dataset.title')} aria-haspopup="dialog" onClick=${openDataset} />
    <button type="button" class="button small" onClick=${openUndecided} disabled=${!store.total.value}><${Icon} name="eye" size=${14} />${t('page.review')}</button>
  </div>
  ${some && html`<${SelectionBar} />`}`;
}
