// Owns the place Try: prompts as columns, a few pictures as rows, votes by key, and the column that is run on all.
import { useEffect, useRef } from 'preact/hooks';
import { withQuery } from '../api.js';
import { html, Icon, IconButton } from '../html.js';
import { number, oneDigit, problemText, t } from '../i18n.js';
import { isTyping, press } from '../keymap.js';
import { toastError } from '../notices.js';
import { costOf, retryTaskWithPrompt } from '../run.js';
import * as store from '../store.js';
import {
  addColumn,
  canTry,
  chooseColumn,
  deleteTrial,
  enterPrompt,
  isStarred,
  moveRow,
  openTrial,
  removeColumn,
  shownColumns,
  star,
  startTrial,
  trialCalls,
  vote,
} from '../trial.js';
import { findingsOf, Thumb } from './card.js';
import { Fields } from './form.js';
import { openMenu } from './menu.js';

function library(event) {
  const prompts = store.library.peek();
  openMenu(
    event.currentTarget,
    t('page.trial.library'),
    prompts.map(({ text }) => ({ icon: 'plus', label: text.slice(0, 80), run: () => addColumn(text) })),
  );
}

function Tools() {
  const trial = store.trial.value;
  const calls = trialCalls();
  const cost = costOf(calls, store.forms.config.value);
  const showScores = (event) => {
    store.scoresShown.value = event.currentTarget.checked;
  };
  return html`<div class="toolbar trial-tools"><${Fields} form="trial" names=${['sample', 'seed']} />
    <span class="spring"></span>
    ${
      trial &&
      html`<label class="facet"><input type="checkbox" checked=${store.scoresShown.value} onChange=${showScores} />
        ${t('page.trial.scores')}</label>
      <button type="button" class="button small plain" onClick=${deleteTrial}>${t('page.trial.forget')}</button>`
    }
    ${
      store.library.value.length > 0 &&
      html`<button type="button" class="button small" aria-haspopup="menu" onClick=${library}>
        ${t('page.trial.library')} ${number(store.library.value.length)}</button>`
    }
    <button type="button" class="button small" onClick=${() => addColumn()} disabled=${shownColumns().length >= 8}>
      <${Icon} name="plus" size=${14} />${t('page.trial.addColumn')}</button>
    <button type="button" class="button small primary" onClick=${startTrial}
      disabled=${!canTry() || store.busy.value.has('trial')}><${Icon} name="play" size=${14} />
      ${t('page.trial.start', { count: calls })}${cost && ` · ${cost}`}</button></div>`;
}

function ColumnHead({ column, at, only, leads }) {
  const starred = isStarred(column.user_prompt);
  const name = t('page.trial.column', { n: at + 1 });
  return html`<th scope="col" class=${leads ? 'leads' : ''}><div class="column-head"><b class="column-number">${at + 1}
    </b>
      <bdi class="muted">${column.config?.model_name ?? store.forms.config.value.model_name}</bdi><span class="spring">
        </span>
      <${IconButton} icon=${starred ? 'check' : 'save'} size=${14} aria-pressed=${starred}
        label=${t('page.trial.star', { n: at + 1 })} disabled=${!column.user_prompt.trim()}
        onClick=${() => star(column.user_prompt)} />
      ${
        !only &&
        html`<${IconButton} icon="x" size=${14} label=${t('page.trial.removeColumn', { n: at + 1 })}
          onClick=${() => removeColumn(at)} />`
      }</div>
    <textarea id=${`column-${at}`} rows="3" aria-label=${name} placeholder=${t('page.trial.promptHere')} dir="auto"
      value=${column.user_prompt} onInput=${(event) => enterPrompt(at, event.currentTarget.value)}></textarea></th>`;
}

function Scores({ task, shown }) {
  const judged = task.results.at(-1)?.judgement;
  const found = findingsOf(task.results);
  return html`<div class="cell-facts">
    ${
      judged &&
      shown &&
      html`<b class="score">${oneDigit(judged.score)}</b><p class="muted small">
        ${Object.values(judged.scores ?? {})
          .map(oneDigit)
          .join(' · ')}</p><p class="small">${judged.reason}</p>`
    }
    ${found && html`<p class="small warn"><${Icon} name="list-checks" size=${13} />${found}</p>`}</div>`;
}

function Cell({ id, row, column, chosen, shown }) {
  const task = store.taskSignal(id)?.value;
  if (!task) return html`<td class="cell empty"></td>`;
  const result = task.results.at(-1);
  if (!result && task.status === 'failed') {
    return html`<td class="cell"><div class="tile problem"><p dir="auto">${problemText(task.error)}</p>
      <span class="problem-deeds"><button type="button" class="button small" onClick=${() => retryTaskWithPrompt(task)}>
        ${t('page.retry.prompt')}</button></span></div></td>`;
  }
  if (!result) {
    return html`<td class="cell"><div class="tile waiting"><${Icon} name="loader" class="turning" />
      <span>${t(`page.status.${task.status}`)}</span></div></td>`;
  }
  const name = t('page.trial.vote', { n: column + 1 });
  return html`<td class=${`cell ${chosen ? 'chosen' : ''}`}><div class="cell-row">
    <button type="button" class="cell-picture"
      aria-label=${name} aria-pressed=${chosen} onClick=${() => vote(row, column)}>
      <${Thumb} url=${withQuery(result.thumbnail_url, { size: 512 })} alt="" /><b class="cell-number">
        ${chosen ? html`<${Icon} name="check" size=${13} />${t('page.trial.best')}` : column + 1}</b></button>
    <${Scores} task=${task} shown=${shown} /></div></td>`;
}

function Row({ row, at }) {
  const current = store.trialRow.value === at;
  const focus = () => {
    store.trialRow.value = at;
  };
  const first = store.taskSignal(row.cells.find(Boolean))?.value;
  const name = row.source_path.split(/[\\/]/).at(-1);
  const shown = row.voted || store.scoresShown.value;
  return html`<tr class=${current ? 'current' : ''} onPointerDown=${focus}><th scope="row">
      ${first && html`<${Thumb} url=${withQuery(first.source_thumbnail_url, { size: 256 })} alt="" />`}
      <bdi>${name}</bdi></th>
    ${row.cells.map(
      (id, column) => html`<${Cell} key=${column} id=${id} row=${at} column=${column} shown=${shown}
        chosen=${row.vote === column} />`,
    )}</tr>`;
}

function Sum({ column, at, leads }) {
  const facts = [
    [t('page.trial.wins'), number(column.wins ?? 0)],
    [t('page.trial.mean'), typeof column.mean_score === 'number' ? oneDigit(column.mean_score) : '–'],
    [t('page.status.failed'), number(column.failed ?? 0)],
    [t('page.trial.seconds'), typeof column.seconds === 'number' ? oneDigit(column.seconds) : '–'],
  ];
  const rest = store.inspection.value?.count ?? 0;
  return html`<td class=${leads ? 'leads' : ''}><dl class="sums">${facts.map(
    ([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`,
  )}</dl><button type="button" class=${`button wide ${leads ? 'primary' : ''}`} onClick=${() => chooseColumn(at)}
      disabled=${store.busy.value.has('choose')}><${Icon} name="play" size=${14} />
      ${t('page.trial.runColumn', { n: at + 1, count: rest })}</button></td>`;
}

/** The place of the column with the most votes; -1 while there is none, or two lead. */
function leader(columns) {
  const wins = columns.map((one) => one.wins ?? 0);
  const most = Math.max(0, ...wins);
  return most && wins.filter((one) => one === most).length === 1 ? wins.indexOf(most) : -1;
}

const HANDLERS = {
  vote: (key) => store.trial.peek().rows[0]?.cells.length >= key && vote(store.trialRow.peek(), key - 1),
  none: () => vote(store.trialRow.peek(), null),
  down: () => moveRow(1),
  up: () => moveRow(-1),
};

export function Trial() {
  const box = useRef(null);
  const trial = store.trial.value;
  const columns = shownColumns();
  const leads = trial ? leader(trial.columns) : -1;
  useEffect(() => {
    openTrial().catch(toastError);
  }, []);
  const onKeyDown = (event) => {
    if (!isTyping(event) && store.trial.peek()) press('trial', event, HANDLERS);
  };
  return html`<${Tools} />${!canTry() && html`<p class="note place-note">${t('page.trial.missing')}</p>`}
    <div class="trial-scroll" tabindex="0" role="region" aria-label=${t('page.place.try')} ref=${box}
      onKeyDown=${onKeyDown}><table class="trial"><thead><tr><th scope="col" class="corner-cell">
        <span class="muted small">${t('page.source')} ↓ ${t('page.plan.prompt')} →</span></th>
      ${columns.map(
        (column, at) => html`<${ColumnHead} key=${at} column=${column} at=${at} only=${columns.length === 1}
          leads=${leads === at} />`,
      )}</tr></thead>
    <tbody>${trial?.rows.map((row, at) => html`<${Row} key=${row.source_path} row=${row} at=${at} />`)}</tbody>
    ${
      trial &&
      html`<tfoot><tr><th scope="row" class="muted small">${t('page.trial.keys')}</th>
        ${trial.columns.map((one, at) => html`<${Sum} key=${at} column=${one} at=${at} leads=${leads === at} />`)}
        </tr></tfoot>`
    }</table>
    ${!trial && html`<p class="place-note muted">${t('page.trial.hint')}</p>`}</div>`;
}
