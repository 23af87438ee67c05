// Owns the review view: one pair full screen, its keys, and what stands around the pictures.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { retry, saveResult } from '../actions.js';
import { drop, toggle, toggleAll } from '../decide.js';
import { html, Icon, IconButton } from '../html.js';
import { bytes, number, problemText, t } from '../i18n.js';
import { isTyping, showKeys } from '../keys.js';
import { factsOf, preload } from '../preload.js';
import { accept, chooseResult, closeReview, goTo, nextUndecided, setZoom, step, zoomBy } from '../reviewing.js';
import * as store from '../store.js';
import { redo, undo } from '../undo.js';
import { Banner } from './banner.js';
import { findingsOf, STATUS_ICON } from './card.js';
import { originalZoom, Stage } from './stage.js';

const MODES = [['side', 'columns-2', 'V'], ['slider', 'square-split-horizontal', 'B'], ['difference', 'flame', 'D'], ['result', 'image', 'G']];

const setMode = (mode) => () => { store.reviewMode.value = mode; };
const original = () => {
  const pane = document.querySelector('.stage .pane[data-width]:last-of-type') ?? document.querySelector('.stage .pane');
  if (pane) setZoom(originalZoom(pane));
};

/** Keys of the view → what they do with the task and its current result. */
function commands(task, at, setPrompt) {
  const result = task.results[at];
  const move = (by) => () => task.results.length && chooseResult((at + by + task.results.length) % task.results.length);
  return {
    arrowright: () => step(1), j: () => step(1), arrowleft: () => step(-1), k: () => step(-1),
    n: nextUndecided, enter: () => accept(task),
    arrowdown: move(1), arrowup: move(-1), tab: null,
    t: () => result && !result.deleted && toggle(task, result), a: () => toggleAll(task),
    x: () => result && drop(task, result), delete: () => result && drop(task, result),
    z: async () => goTo((await undo())?.place), y: async () => goTo((await redo())?.place),
    r: () => retry(task), s: () => result && saveResult(task, result),
    v: setMode('side'), b: setMode('slider'), d: setMode('difference'), g: setMode('result'),
    f: () => { store.flicker.value = true; },
    '+': () => zoomBy(1.5), '=': () => zoomBy(1.5), '-': () => zoomBy(1 / 1.5), 0: () => setZoom(1), o: original,
    p: () => setPrompt((open) => !open), l: () => { store.debugTask.value = store.debugTask.peek() ? null : task.id; },
    '?': showKeys, escape: () => (store.debugTask.peek() ? (store.debugTask.value = null) : closeReview()),
  };
}

function onKey(event, task, at, setPrompt) {
  if (isTyping(event) || store.dialog.peek() || store.menu.peek() || event.altKey) return;
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (command && !['z', 'y'].includes(key)) return;
  if (key === 'enter' && event.target.closest?.('button')) return;
  if (key === ' ') return;
  const number = /^[1-9]$/.test(key) ? task.results[Number(key) - 1] : null;
  const table = commands(task, at, setPrompt);
  const run = number ? () => { chooseResult(Number(key) - 1); toggle(task, number); } : table[key === 'z' && event.shiftKey ? 'y' : key];
  if (!run || (key === 'f' && event.repeat)) return;
  event.preventDefault();
  event.stopPropagation();
  run();
}

function useReviewKeys(task, at, setPrompt) {
  const latest = useRef();
  latest.current = { task, at };
  useLayoutEffect(() => { // not later: a key may come with the first picture
    const down = (event) => latest.current.task && onKey(event, latest.current.task, latest.current.at, setPrompt);
    const up = (event) => { if (event.key.toLowerCase() === 'f') store.flicker.value = false; };
    const blur = () => { store.flicker.value = false; };
    addEventListener('keydown', down, true);
    addEventListener('keyup', up, true);
    addEventListener('blur', blur);
    return () => {
      removeEventListener('keydown', down, true);
      removeEventListener('keyup', up, true);
      removeEventListener('blur', blur);
    };
  }, []);
}

function Head({ task, index, of, left }) {
  const zoom = store.reviewView.value.scale;
  return html`<div class="review-head">
    <${IconButton} icon="x" size=${18} label=${`${t('page.close')} (Esc)`} onClick=${closeReview} />
    <${IconButton} icon="chevron-left" size=${18} label=${`${t('page.key.previous')} (←)`} disabled=${index === 0} onClick=${() => step(-1)} />
    <${IconButton} icon="chevron-right" size=${18} label=${`${t('page.key.next')} (→)`} disabled=${index >= of - 1} onClick=${() => step(1)} />
    <span class="review-place">${number(index + 1)} / ${number(of)}</span>
    ${left !== null && html`<span class="review-left muted">${t('page.review.left', { count: left })}</span>`}
    <span class=${`status ${task.status}`}><${Icon} name=${STATUS_ICON[task.status]} class=${task.status === 'processing' ? 'turning' : ''} /><span>${t(`page.status.${task.status}`)}</span></span>
    <h2><bdi title=${task.source_path}>${task.source_name}</bdi></h2>
    ${task.decided && html`<span class="judged"><${Icon} name="check" size=${14} />${t('page.judged')}</span>`}
    <span class="spring"></span>
    <div class="modes" role="group" aria-label=${t('page.mode')}>${MODES.map(([mode, icon, key]) => html`<${IconButton} key=${mode} icon=${icon} size=${18} aria-pressed=${store.reviewMode.value === mode} label=${`${t(`page.mode.${mode}`)} (${key})`} onClick=${setMode(mode)} />`)}
      <${IconButton} icon="contrast" size=${18} label=${`${t('page.key.flicker')} (F)`} aria-pressed=${store.flicker.value}
        onPointerDown=${() => { store.flicker.value = true; }} onPointerUp=${() => { store.flicker.value = false; }} onPointerLeave=${() => { store.flicker.value = false; }} /></div>
    <div class="modes" role="group" aria-label=${t('page.key.zoom')}>
      <${IconButton} icon="zoom-out" size=${18} label=${`${t('page.zoom.out')} (−)`} onClick=${() => zoomBy(1 / 1.5)} />
      <button type="button" class="zoom-value" title=${`${t('page.key.fit')} (0)`} onClick=${() => setZoom(1)}>${zoom ? `×${zoom.toFixed(1)}` : t('page.zoom.fit')}</button>
      <${IconButton} icon="zoom-in" size=${18} label=${`${t('page.zoom.in')} (+)`} onClick=${() => zoomBy(1.5)} />
      <${IconButton} icon="scan" size=${18} label=${`${t('page.key.original')} (O)`} onClick=${original} /></div>
    <${IconButton} icon="keyboard" size=${18} label=${`${t('page.keys')} (?)`} onClick=${showKeys} />
  </div>`;
}

function Facts({ task, result }) {
  const [, again] = useState(0);
  useEffect(() => { // what the browser tells of a picture once it is loaded
    let here = true;
    preload(task.source_image_url).ready.then(() => here && again((n) => n + 1), () => undefined);
    return () => { here = false; };
  }, [task.source_image_url]);
  const source = factsOf(task.source_image_url);
  const sides = [];
  if (source) sides.push(`${t('page.source')} ${source.width}×${source.height}${source.bytes ? ` · ${bytes(source.bytes)}` : ''}`);
  if (result) sides.push(`${t('page.result')} ${result.width}×${result.height} · ${bytes(result.size)} · ${(result.mime ?? '').replace('image/', '').toUpperCase()}`);
  const found = result && findingsOf([result]);
  return html`<p class="facts">${sides.map((text, at) => html`<span key=${at}>${text}</span>`)}${found && html`<span class="found-wrong"><${Icon} name="list-checks" size=${13} />${found}</span>`}</p>`;
}

function Strip({ task, at }) {
  if (!task.results.length) return null;
  return html`<ol class="strip" aria-label=${t('page.results')}>${task.results.map((result, n) => html`<li key=${result.id}>
    <button type="button" class=${`strip-tile ${n === at ? 'current' : ''} ${result.deleted ? 'dropped' : result.selected ? 'ticked' : ''}`} aria-current=${n === at} aria-label=${t('page.result.show', { n: n + 1 })} onClick=${() => chooseResult(n)}>
      <img src=${`${result.thumbnail_url}?size=128`} alt="" decoding="async" /><b>${n + 1}</b>
      <${Icon} name=${result.deleted ? 'ban' : result.selected ? 'square-check' : 'square'} size=${14} /></button></li>`)}</ol>`;
}

function Deeds({ task, result }) {
  const key = (name) => html`<kbd>${name}</kbd>`;
  return html`<div class="review-deeds">
    ${result && html`<button type="button" class="button" aria-pressed=${result.selected && !result.deleted} disabled=${result.deleted} onClick=${() => toggle(task, result)}><${Icon} name=${result.selected ? 'square-check' : 'square'} />${t(result.selected ? 'page.ticked' : 'page.unticked')}${key('T')}</button>
    <button type="button" class="button" onClick=${() => drop(task, result)}><${Icon} name=${result.deleted ? 'rotate-ccw' : 'ban'} />${t(result.deleted ? 'page.restore' : 'page.drop')}${key('X')}</button>
    <button type="button" class="button" onClick=${() => saveResult(task, result)}><${Icon} name="save" />${t('page.save.this')}${key('S')}</button>`}
    <button type="button" class="button" disabled=${task.status === 'processing'} onClick=${() => retry(task)}><${Icon} name="repeat-2" />${t('page.retry.again')}${key('R')}</button>
    <button type="button" class="button" disabled=${!store.undoStack.value.length} onClick=${async () => goTo((await undo())?.place)}><${Icon} name="undo-2" />${t('page.undo')}${key('Z')}</button>
    <button type="button" class="button" onClick=${() => { store.debugTask.value = task.id; }}><${Icon} name="terminal" />${t('page.log')}${key('L')}</button>
    <button type="button" class="button primary" onClick=${() => accept(task)}><${Icon} name="check" />${t('page.accept')}${key('Enter')}</button>
  </div>`;
}

export function Review() {
  const { index, of, left, id, result: at } = store.review.value;
  const task = store.taskSignal(id)?.value;
  const [prompt, setPrompt] = useState(false);
  const box = useRef(null);
  useReviewKeys(task, at, setPrompt);
  useLayoutEffect(() => box.current.focus(), []);
  useEffect(() => () => document.getElementById(`card-${store.focusIndex.peek()}`)?.focus({ preventScroll: true }), []);
  if (!task) return html`<div class="review" ref=${box} tabindex="-1"></div>`;
  const result = task.results[Math.min(at, task.results.length - 1)];
  const place = Math.max(0, Math.min(at, task.results.length - 1));
  return html`<div class="review" role="dialog" aria-modal="true" aria-label=${t('page.review')} ref=${box} tabindex="-1">
    <${Head} task=${task} index=${index} of=${of} left=${left} />
    <${Banner} />
    <${Stage} task=${task} current=${place} />
    ${(task.error || task.warning) && html`<p class=${`review-problem ${task.error ? 'bad' : 'warn'}`} dir="auto"><${Icon} name=${task.error ? 'circle-x' : 'triangle-alert'} />${problemText(task.error ?? task.warning)}</p>`}
    ${prompt && html`<section class="prompt-box" aria-label=${t('config.user_prompt.label')}><p dir="auto">${store.config.value.user_prompt || t('page.prompt.none')}</p><p class="muted">${store.config.value.model_name}</p></section>`}
    <div class="review-foot"><${Strip} task=${task} at=${place} /><${Facts} task=${task} result=${result} /><${Deeds} task=${task} result=${result} /></div>
  </div>`;
}
