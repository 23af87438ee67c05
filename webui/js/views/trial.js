// Owns the place Try: prompts as columns, a few pictures as rows, votes by key, and the column that is run on all.
import { useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { withQuery } from '../api.js';
import { html, Icon, IconButton } from '../html.js';
import { dateTime, duration, money, number, problemText, t } from '../i18n.js';
import { canJudge, loadJudge, scoreTrial } from '../judging.js';
import { isTyping, press } from '../keymap.js';
import { isStarred, star } from '../library.js';
import { openDialog, toastError } from '../notices.js';
import { retryTaskWithPrompt } from '../run.js';
import * as store from '../store.js';
import {
  addColumn,
  canTry,
  chooseColumn,
  configOf,
  deleteTrial,
  drawAnew,
  editColumn,
  enterPrompt,
  isChanged,
  missingCalls,
  MOST,
  moveRow,
  openTrial,
  placeIn,
  priceOf,
  readScores,
  removeColumn,
  shownColumns,
  showTrial,
  startTrial,
  trialCalls,
  vote,
  writtenColumns,
} from '../trial.js';
import { Thumb } from './card.js';
import { Fields } from './form.js';
import { openMenu } from './menu.js';
import { Criteria, scoreText } from './scores.js';
import { LargeRow } from './triallarge.js';

async function library() {
  const text = await openDialog('library');
  if (text) addColumn(text);
}

function earlier(event) {
  const shown = store.trial.peek()?.id;
  const items = store.trials.peek().map((one) => ({
    label: `${dateTime(one.at)} · ${one.columns.length} × ${one.rows}`,
    checked: one.id === shown,
    run: () => showTrial(one.id),
  }));
  const forget = { icon: 'trash-2', label: t('page.trial.forget'), danger: true, run: deleteTrial };
  openMenu(event.currentTarget, t('page.trial.earlier'), store.trial.peek() ? [...items, null, forget] : items);
}

function Scores() {
  const show = (event) => {
    store.scoresShown.value = event.currentTarget.checked;
  };
  return html`<label class="facet"><input type="checkbox" checked=${store.scoresShown.value} onChange=${show} />
      <span>${t('page.trial.scores')}</span></label>
    ${
      canJudge() &&
      html`<button type="button" class="button small" disabled=${store.job.value?.status === 'running'}
        onClick=${scoreTrial}><${Icon} name="scale" size=${14} /><span>${t('page.trial.score')}</span></button>`
    }`;
}

function Tools() {
  const trial = store.trial.value;
  const parts = trialCalls();
  const calls = parts.reduce((sum, one) => sum + one.calls, 0);
  const cost = priceOf(parts);
  const prompts = store.library.value.length;
  return html`<div class="toolbar trial-tools"><${Fields} form="trial" names=${['sample', 'seed']} />
    <${IconButton} icon="dices" size=${14} label=${t('page.trial.drawAnew')} onClick=${drawAnew} />
    <span class="spring"></span>${trial && html`<${Scores} />`}
    ${
      store.trials.value.length > 0 &&
      html`<button type="button" class="button small" aria-haspopup="menu" onClick=${earlier}>
        <${Icon} name="clock" size=${14} /><span>${t('page.trial.earlier')}</span> ${number(store.trials.value.length)}
          </button>`
    }
    ${
      prompts > 0 &&
      html`<button type="button" class="button small" aria-haspopup="dialog" onClick=${library}>
        <${Icon} name="library" size=${14} /><span>${t('page.trial.library')}</span> ${number(prompts)}</button>`
    }
    <button type="button" class="button small" onClick=${() => addColumn()} disabled=${shownColumns().length >= MOST}>
      <${Icon} name="plus" size=${14} /><span>${t('page.trial.addColumn')}</span></button>
    <button type="button" class="button small primary try-start" onClick=${startTrial}
      disabled=${!canTry() || store.busy.value.has('trial') || (trial && !calls)}><${Icon} name="play" size=${14} />
      ${t('page.trial.start', { count: calls })}${cost && ` · ${cost}`}</button></div>`;
}

function ColumnHead({ column, at, only, leads, changed }) {
  const { name } = column;
  const n = at + 1;
  const starred = isStarred(column.user_prompt);
  const own = column.preset || column.config;
  return html`<th scope="col" class=${leads ? 'leads' : ''}><div class="column-head"><b class="column-number">${n}</b>
      <bdi class="muted column-model" title=${configOf(column).api_url}>
        ${column.preset ? `${column.preset} / ` : ''}${configOf(column).model_name}</bdi>
      ${changed && html`<span class="warn small" title=${t('page.trial.changedWhy')}>${t('page.trial.changed')}</span>`}
      <span class="spring"></span>
      <${IconButton} icon="star" size=${14} class=${starred ? 'starred' : ''} aria-pressed=${starred}
        label=${t('page.trial.star', { n })} disabled=${!column.user_prompt.trim()}
        onClick=${() => star(column.user_prompt)} />
      <${IconButton} icon="pencil" size=${14} label=${t('page.trial.editColumn', { n })} aria-pressed=${Boolean(own)}
        onClick=${() => editColumn(column)} />
      ${
        !only &&
        html`<${IconButton} icon="x" size=${14} label=${t('page.trial.removeColumn', { n })}
          onClick=${() => removeColumn(name)} />`
      }</div>
    <textarea id=${`column-${at}`} rows="2" aria-label=${t('page.trial.column', { n })} dir="auto"
      placeholder=${t(at ? 'page.trial.another' : 'page.trial.promptHere')} value=${column.user_prompt}
      onInput=${(event) => enterPrompt(name, event.currentTarget.value)}></textarea></th>`;
}

/** What was measured, in words: what is wrong, else the plain numbers. */
export function Numbers({ id }) {
  const found = store.trialNumbers.value[id];
  if (!found) return null;
  const units = { aspect: 'percent', size: 'percent', shifted: 'percent', zoomed: 'percent' };
  const say = (unit, value) => t(`unit.${unit}`, { number: Number(value.toPrecision(2)) });
  const wrong = Object.entries(found.findings);
  if (wrong.length) {
    const words = wrong.map(([kind, value]) => {
      const text = t(`finding.${kind}`);
      return units[kind] ? `${text} ${say(units[kind], value)}` : text;
    });
    const said = words.join(t('finding.separator'));
    return html`<p class="small warn numbers" title=${said}><${Icon} name="list-checks" size=${13} />
      <span>${said}</span></p>`;
  }
  const plain = [t('page.trial.change', { number: say('level', found.change) })];
  if (found.shift !== null) {
    const shift = t('unit.percent', { number: Number(found.shift.toFixed(1)) });
    plain.push(t('page.trial.shift', { number: shift }));
  }
  return html`<p class="small muted numbers"><span>${plain.join(' · ')}</span></p>`;
}

function Facts({ id, result, shown }) {
  const judged = result.judgement;
  return html`<div class="cell-facts">
    ${
      judged &&
      (shown
        ? html`<b class=${`score-number ${judged.passed ? '' : 'low'}`}>${scoreText(judged.score)}</b>
          <${Criteria} scores=${judged.scores} /><p class="small reason" title=${judged.reason} dir="auto">
            ${judged.reason}</p>`
        : html`<p class="small muted">${t('page.trial.scoreHidden')}</p>`)
    }
    <${Numbers} id=${id} /></div>`;
}

function Failed({ task }) {
  const show = () => {
    store.debugTask.value = task.id;
  };
  return html`<td class="cell"><div class="tile problem"><p dir="auto" title=${problemText(task.error)}>
      ${problemText(task.error)}</p>
    <span class="problem-deeds"><button type="button" class="button small" onClick=${() => retryTaskWithPrompt(task)}>
        ${t('page.retry.prompt')}</button>
      ${
        task.has_debug_log && html`<button type="button" class="button small" onClick=${show}>${t('page.log')}</button>`
      }</span></div></td>`;
}

function Cell({ id, row, column, n, chosen, shown }) {
  if (id === undefined) return html`<td class="cell empty"><p class="muted small">${t('page.trial.notYet')}</p></td>`;
  const task = store.taskSignal(id)?.value;
  if (!task) return html`<td class="cell empty"></td>`;
  const result = task.results.at(-1);
  if (!result && task.status === 'failed') return html`<${Failed} task=${task} />`;
  if (!result) {
    const turning = task.status === 'processing' ? 'turning' : '';
    return html`<td class="cell"><div class="tile waiting">
      <${Icon} name=${turning ? 'loader' : 'circle-dashed'} class=${turning} />
      <span>${t(`page.status.${task.status}`)}</span></div></td>`;
  }
  const name = chosen ? `${t('page.trial.vote', { n })}: ${t('page.trial.best')}` : t('page.trial.vote', { n });
  return html`<td class=${`cell ${chosen ? 'chosen' : ''}`}><div class="cell-row">
    <button type="button" class="cell-picture" aria-label=${name} aria-pressed=${chosen}
      onClick=${() => vote(row, column)}>
      <${Thumb} url=${withQuery(result.thumbnail_url, { size: 512 })} alt="" /><b class="cell-number">
        ${chosen ? html`<${Icon} name="check" size=${13} />${t('page.trial.best')}` : n}</b></button>
    <${Facts} id=${id} result=${result} shown=${shown} /></div></td>`;
}

function Row({ row, at, places }) {
  const current = store.trialRow.value === at;
  const line = useRef(null);
  const focus = () => {
    store.trialRow.value = at;
  };
  useEffect(() => {
    if (current) line.current.scrollIntoView({ block: 'nearest' });
  }, [current]);
  const first = store.taskSignal(row.cells[0])?.value;
  const shown = row.voted || store.scoresShown.value;
  const parts = row.source_path.split(/[\\/]/);
  return html`<tr class=${current ? 'current' : ''} onPointerDown=${focus} ref=${line} aria-current=${current}>
    <th scope="row"><div class="source-cell">
      ${first && html`<${Thumb} url=${withQuery(first.source_thumbnail_url, { size: 256 })} alt="" />`}
      <span class="source-name"><bdi title=${row.source_path}>${parts.at(-1)}</bdi>
        <bdi class="muted small">${parts.at(-2)}</bdi>
        ${row.voted && row.vote === null && html`<span class="muted small">${t('page.trial.noneGood')}</span>`}</span>
      </div></th>
    ${places.map(
      (place, n) => html`<${Cell} key=${n} id=${row.cells[place]} row=${at} column=${place} n=${n + 1} shown=${shown}
        chosen=${row.voted && row.vote === place} />`,
    )}</tr>`;
}

function Sum({ column, place, n, leads, scores }) {
  if (!column) return html`<td></td>`;
  const facts = [
    [t('page.trial.wins'), number(column.wins)],
    [t('page.trial.mean'), scores && column.mean_score !== null ? scoreText(column.mean_score) : null],
    [t('page.trial.cost'), column.cost ? money(column.cost) : null],
    [t('page.trial.seconds'), typeof column.seconds === 'number' ? duration(column.seconds) : null],
    [t('page.status.failed'), column.failed ? number(column.failed) : null],
    [t('page.trial.refused'), column.refused ? number(column.refused) : null],
  ].filter(([, value]) => value !== null);
  const count = missingCalls(column);
  const cost = column.price_per_call * count;
  return html`<td class=${leads ? 'leads' : ''}><dl class="sums">${facts.map(
    ([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`,
  )}</dl><button type="button" class=${`button wide ${leads ? 'primary' : ''}`} onClick=${() => chooseColumn(place)}
      disabled=${store.busy.value.has('choose')}><${Icon} name="play" size=${14} />
      ${t('page.trial.runColumn', { n, count })}
      ${cost > 0 && ` · ${t('page.cost.about', { price: money(cost) })}`}</button></td>`;
}

/** The place of the column with the most votes; -1 while there is none, or two lead. */
function leader(columns) {
  const wins = columns.map((one) => one.wins ?? 0);
  const most = Math.max(0, ...wins);
  return most && wins.filter((one) => one === most).length === 1 ? wins.indexOf(most) : -1;
}

function Totals({ trial }) {
  const sum = (name) => trial.columns.reduce((total, one) => total + one[name], 0);
  const parts = [t('page.trial.calls', { count: sum('calls') })];
  if (sum('cost')) parts.push(money(sum('cost')));
  return html`<th scope="row" class="muted small"><span class="keys-line">${t('page.trial.keys')}</span>
    <span>${parts.join(' · ')}</span></th>`;
}

const HANDLERS = {
  vote: (key) => {
    const place = placesNow()[key - 1];
    if (place >= 0) vote(store.trialRow.peek(), place);
  },
  none: () => vote(store.trialRow.peek(), null),
  down: () => moveRow(1),
  up: () => moveRow(-1),
  large: () => {
    store.trialLarge.value = !store.trialLarge.peek();
  },
  small: () => {
    store.trialLarge.value = false;
  },
};

/** Where the columns that are shown stand in the trial. */
const placesNow = () => shownColumns().map((column) => placeIn(store.trial.peek(), column));

function onKey(event) {
  if (!store.trial.peek() || event.defaultPrevented || isTyping(event)) return;
  if (store.dialog.peek() || store.menu.peek() || store.debugTask.peek()) return;
  const large = store.trialLarge.peek();
  if (event.key === 'Escape' && !large) return;
  if (event.key === 'Enter' && !large && event.target.closest?.('button, a, summary, label')) return;
  if (press('trial', event, HANDLERS)) event.stopPropagation();
}

/** The judge's work, as it goes on and when it is over. */
function useScores() {
  const seen = useRef(null);
  useSignalEffect(() => {
    const job = store.job.value;
    const running = job?.kind === 'judge' && job.status === 'running';
    if (seen.current && !running) readScores().catch(toastError);
    seen.current = running;
  });
}

export function Trial() {
  const trial = store.trial.value;
  const columns = shownColumns();
  const places = columns.map((column) => placeIn(trial, column));
  const leads = trial ? leader(trial.columns) : -1;
  const written = writtenColumns();
  useScores();
  useEffect(() => {
    openTrial().catch(toastError);
    loadJudge().catch(toastError);
    addEventListener('keydown', onKey, true);
    return () => {
      removeEventListener('keydown', onKey, true);
      store.trialLarge.value = false;
    };
  }, []);
  const shape = { '--columns': columns.length, '--rows': trial?.rows.length ?? 1 };
  return html`<${Tools} />${!canTry() && html`<p class="note place-note">${t('page.trial.missing')}</p>`}
    <div class="trial-scroll" tabindex="0" role="region" aria-label=${t('page.place.try')} style=${shape}>
    <table class="trial"><thead><tr><th scope="col" class="corner-cell">
        <span class="muted small">${t('page.source')} ↓ ${t('page.plan.prompt')} →</span></th>
      ${columns.map(
        (column, at) =>
          html`<${ColumnHead} key=${column.name} column=${column} at=${at} leads=${
            leads >= 0 && leads === places[at]
          } only=${written.length === 1 || at >= written.length} changed=${isChanged(trial, column)} />`,
      )}</tr></thead>
    <tbody>${trial?.rows.map(
      (row, at) => html`<${Row} key=${row.source_path} row=${row} at=${at} places=${places} />`,
    )}</tbody>
    ${
      trial &&
      html`<tfoot><tr><${Totals} trial=${trial} />
        ${places.map(
          (place, at) => html`<${Sum} key=${at} column=${trial.columns[place]} place=${place} n=${at + 1}
            leads=${leads >= 0 && leads === place}
            scores=${store.scoresShown.value || trial.rows.every((row) => row.voted)} />`,
        )}</tr></tfoot>`
    }</table>
    ${!trial && html`<p class="place-note muted">${t('page.trial.hint')}</p>`}</div>
    ${trial && store.trialLarge.value && html`<${LargeRow} trial=${trial} places=${places} />`}`;
}
