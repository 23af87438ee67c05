// Owns the large comparison of a trial's row: the source and what each column made of it, under one zoom.
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { html, Icon, IconButton } from '../html.js';
import { number, t } from '../i18n.js';
import { setZoom } from '../reviewing.js';
import * as store from '../store.js';
import { vote } from '../trial.js';
import { scoreText } from './scores.js';
import { Pane } from './stage.js';

function Choice({ row, at, place, n }) {
  const task = store.taskSignal(row.cells[place])?.value;
  const result = task?.results.at(-1);
  if (!result) {
    const state = task ? t(`page.status.${task.status}`) : t('page.trial.notYet');
    return html`<div class="pane"><p class="pane-note">${n} · ${state}</p></div>`;
  }
  const chosen = row.voted && row.vote === place;
  const judged = (row.voted || store.scoresShown.value) && result.judgement;
  const badge = html`${
    judged &&
    html`<span class="tag"><${Icon} name="scale" size=${13} />${scoreText(judged.score)}
    </span>`
  }${
    chosen &&
    html`<span class="tag ticked"><${Icon} name="check" size=${13} />
    ${t('page.trial.best')}</span>`
  }`;
  return html`<div class="large-choice"><${Pane} class=${chosen ? 'current' : ''} url=${result.image_url}
      alt=${t('page.trial.column', { n })} label=${number(n)} badge=${badge} />
    <button type="button" class=${`button ${chosen ? 'primary' : ''}`} aria-pressed=${chosen}
      onClick=${() => vote(at, place)}>${t('page.trial.vote', { n })}<kbd>${n}</kbd></button></div>`;
}

/** The row that is the current one, large. */
export function LargeRow({ trial, places }) {
  const box = useRef(null);
  const at = store.trialRow.value;
  const row = trial.rows[at];
  const source = store.taskSignal(row.cells[0])?.value;
  const shown = places.filter((place) => place >= 0);
  useLayoutEffect(() => {
    const before = document.activeElement;
    box.current.focus();
    return () => before?.focus?.();
  }, []);
  useEffect(() => setZoom(1), [at]);
  const close = () => {
    store.trialLarge.value = false;
  };
  return html`<div class="trial-large" role="dialog" aria-modal="true" aria-label=${t('page.trial.large')} ref=${box}
    tabindex="-1"><div class="review-head">
      <${IconButton} icon="x" size=${18} label=${t('page.close')} onClick=${close} />
      <span class="review-place">${number(at + 1)} / ${number(trial.rows.length)}</span>
      <h2><bdi>${row.source_path.split(/[\\/]/).at(-1)}</bdi></h2><span class="spring"></span>
      <span class="muted small">${t('page.trial.keysLarge')}</span></div>
    <div class="large-grid" data-panes=${shown.length + 1}>
      ${source && html`<${Pane} url=${source.source_image_url} alt=${t('page.source')} label=${t('page.source')} />`}
      ${places.map(
        (place, n) =>
          place >= 0 && html`<${Choice} key=${row.cells[place]} row=${row} at=${at} place=${place} n=${n + 1} />`,
      )}</div></div>`;
}
