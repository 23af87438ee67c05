// Owns the review view: one pair full screen, its keys, and what stands around the pictures.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { withQuery } from '../api.js';
import { drop, kept, setDecided, toggle, toggleAll } from '../decide.js';
import { html, Icon, IconButton } from '../html.js';
import { bytes, number, problemText, t } from '../i18n.js';
import { isTyping, keyLabel, press } from '../keymap.js';
import { showKeys } from '../notices.js';
import { factsOf, preload } from '../preload.js';
import {
  accept,
  chooseResult,
  closeReview,
  keepAndGoOn,
  nextUndecided,
  redoInReview,
  rejectPair,
  setZoom,
  step,
  undoInReview,
  zoomBy,
} from '../reviewing.js';
import { retry, retryTaskWithPrompt } from '../run.js';
import { saveResult } from '../saving.js';
import * as store from '../store.js';
import { Banner } from './banner.js';
import { findingsOf, STATUS_ICON } from './card.js';
import { Panel, toCaption } from './panel.js';
import { originalZoom, Stage } from './stage.js';

const MODES = [
  ['side', 'columns-2', 'side'],
  ['slider', 'square-split-horizontal', 'slider'],
  ['difference', 'flame', 'difference'],
  ['result', 'image', 'single'],
];
const CLOSER = 1.5;

const setMode = (mode) => () => {
  store.reviewMode.value = mode;
};
const flick = (held) => () => {
  store.flicker.value = held;
};
const flipPanel = () => {
  store.panelOpen.value = !store.panelOpen.peek();
};
const original = () => {
  const pane =
    document.querySelector('.stage .pane[data-width]:last-of-type') ?? document.querySelector('.stage .pane');
  if (pane) setZoom(originalZoom(pane));
};

/** A label with the key of its command: 'Fit (0)'. */
const withKey = (text, command) => `${text} (${keyLabel('review', command)})`;

/** What the keys of the view do with the task and its current result; what they are stands in keymap.js. */
function handlersOf(task, at) {
  const result = task.results[at];
  const count = task.results.length;
  const turn = (by) => () => count && chooseResult((at + by + count) % count);
  const numbered = (key) => task.results[key - 1];
  return {
    next: () => step(1),
    previous: () => step(-1),
    nextUndecided,
    accept: () => accept(task),
    reject: () => rejectPair(task),
    undecide: () => setDecided(task, false),
    keepOne: (key) => keepAndGoOn(task, numbered(key)),
    tick: (key) => {
      if (!numbered(key)) return;
      chooseResult(key - 1);
      if (store.keymap.peek() === 'own') toggle(task, numbered(key));
    },
    tickCurrent: () => result && !result.deleted && toggle(task, result),
    tickAll: () => toggleAll(task),
    dropOne: () => result && drop(task, result),
    nextResult: turn(1),
    previousResult: turn(-1),
    undo: undoInReview,
    redo: redoInReview,
    retry: () => retry(task),
    retryPrompt: () => retryTaskWithPrompt(task),
    save: () => result && saveResult(task, result),
    side: setMode('side'),
    slider: setMode('slider'),
    difference: setMode('difference'),
    single: setMode('result'),
    flicker: flick(true),
    zoomIn: () => zoomBy(CLOSER),
    zoomOut: () => zoomBy(1 / CLOSER),
    fit: () => setZoom(1),
    original,
    panel: flipPanel,
    caption: () => result && toCaption(),
    log: () => {
      store.debugTask.value = store.debugTask.peek() ? null : task.id;
    },
    keys: showKeys,
    close: () => (store.debugTask.peek() ? (store.debugTask.value = null) : closeReview()),
  };
}

function onKey(event, task, at) {
  if (isTyping(event) || store.dialog.peek() || store.menu.peek()) return;
  if (event.key === 'Enter' && event.target.closest?.('button')) return;
  if (press('review', event, handlersOf(task, at))) event.stopPropagation();
}

function useReviewKeys(task, at) {
  const latest = useRef();
  latest.current = { task, at };
  useLayoutEffect(() => {
    // not later: a key may come with the first picture
    const down = (event) => latest.current.task && onKey(event, latest.current.task, latest.current.at);
    const up = (event) => event.key.toLowerCase() === 'f' && flick(false)();
    const blur = flick(false);
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

function Modes() {
  return html`<div class="modes" role="group" aria-label=${t('page.mode')}>${MODES.map(
    ([mode, icon, command]) => html`<${IconButton} key=${mode} icon=${icon} size=${18}
      aria-pressed=${store.reviewMode.value === mode} label=${withKey(t(`page.mode.${mode}`), command)}
      onClick=${setMode(mode)} />`,
  )}<${IconButton} icon="contrast" size=${18} label=${withKey(t('page.key.flicker'), 'flicker')}
      aria-pressed=${store.flicker.value} onPointerDown=${flick(true)} onPointerUp=${flick(false)}
      onPointerLeave=${flick(false)} /></div>`;
}

function Zoom() {
  const zoom = store.reviewView.value.scale;
  return html`<div class="modes" role="group" aria-label=${t('page.zoom')}>
    <${IconButton} icon="zoom-out" size=${18} label=${withKey(t('page.key.zoomOut'), 'zoomOut')}
      onClick=${() => zoomBy(1 / CLOSER)} />
    <button type="button" class="zoom-value" title=${withKey(t('page.key.fit'), 'fit')} onClick=${() => setZoom(1)}>
      ${zoom ? `×${zoom.toFixed(1)}` : t('page.zoom.fit')}</button>
    <${IconButton} icon="zoom-in" size=${18} label=${withKey(t('page.key.zoomIn'), 'zoomIn')}
      onClick=${() => zoomBy(CLOSER)} />
    <${IconButton} icon="scan" size=${18} label=${withKey(t('page.key.original'), 'original')} onClick=${original} />
    </div>`;
}

function Head({ task, index, of, left }) {
  const turning = task.status === 'processing' ? 'turning' : '';
  return html`<div class="review-head">
    <${IconButton} icon="x" size=${18} label=${withKey(t('page.key.close'), 'close')} onClick=${closeReview} />
    <${IconButton} icon="chevron-left" size=${18} label=${withKey(t('page.key.previous'), 'previous')}
      disabled=${index === 0} onClick=${() => step(-1)} />
    <${IconButton} icon="chevron-right" size=${18} label=${withKey(t('page.key.next'), 'next')}
      disabled=${index >= of - 1} onClick=${() => step(1)} />
    <span class="review-place">${number(index + 1)} / ${number(of)}</span>
    ${left !== null && html`<span class="review-left muted">${t('page.review.left', { count: left })}</span>`}
    <span class=${`status ${task.status}`}><${Icon} name=${STATUS_ICON[task.status]} class=${turning} />
      <span>${t(`page.status.${task.status}`)}</span></span>
    <h2><bdi title=${task.source_path}>${task.source_name}</bdi></h2>
    ${
      task.decided &&
      html`<span class="judged"><${Icon} name="check" size=${14} /><span>${t('page.judged')}</span></span>`
    }
    <span class="spring"></span><${Modes} /><${Zoom} />
    <${IconButton} icon="info" size=${18} label=${withKey(t('page.key.panel'), 'panel')}
      aria-pressed=${store.panelOpen.value} onClick=${flipPanel} />
    <${IconButton} icon="keyboard" size=${18} label=${withKey(t('page.keys'), 'keys')} onClick=${showKeys} /></div>`;
}

function Facts({ task, result }) {
  const [, again] = useState(0);
  useEffect(() => {
    // what the browser tells of a picture once it is loaded
    let here = true;
    preload(task.source_image_url).ready.then(
      () => here && again((n) => n + 1),
      () => undefined,
    );
    return () => {
      here = false;
    };
  }, [task.source_image_url]);
  const source = factsOf(task.source_image_url);
  const sides = [];
  if (source) sides.push([t('page.source'), `${source.width}×${source.height}`, source.bytes && bytes(source.bytes)]);
  const kind = (result?.mime ?? '').replace('image/', '').toUpperCase();
  if (result) sides.push([t('page.result'), `${result.width}×${result.height}`, bytes(result.size), kind]);
  const found = result && findingsOf([result]);
  return html`<p class="facts">${sides.map(
    ([name, ...parts]) => html`<span key=${name}>${name} ${parts.filter(Boolean).join(' · ')}</span>`,
  )}${found && html`<span class="found-wrong"><${Icon} name="list-checks" size=${13} />${found}</span>`}</p>`;
}

const markOf = (result) => (result.deleted ? 'dropped' : result.selected ? 'ticked' : '');
const MARK_ICON = { dropped: 'ban', ticked: 'square-check', '': 'square' };

function StripTile({ result, n, at }) {
  const mark = markOf(result);
  return html`<li><button type="button" class=${`strip-tile ${n === at ? 'current' : ''} ${mark}`}
      aria-current=${n === at} aria-label=${t('page.result.show', { n: n + 1 })} onClick=${() => chooseResult(n)}>
    <img src=${withQuery(result.thumbnail_url, { size: 128 })} alt="" decoding="async" /><b>${n + 1}</b>
    <${Icon} name=${MARK_ICON[mark]} size=${14} /></button></li>`;
}

function Strip({ task, at }) {
  if (!task.results.length) return null;
  return html`<ol class="strip" aria-label=${t('page.results')}>${task.results.map(
    (result, n) => html`<${StripTile} key=${result.id} result=${result} n=${n} at=${at} />`,
  )}</ol>`;
}

function Deed({ icon, text, command, primary = false, ...rest }) {
  return html`<button type="button" class=${`button ${primary ? 'primary' : ''}`} ...${rest}><${Icon} name=${icon} />
    <span>${text}</span><kbd>${keyLabel('review', command)}</kbd></button>`;
}

function Deeds({ task, result }) {
  const one = result && kept(task).length === 1;
  const busy = task.status === 'processing';
  const ticked =
    result &&
    html`<${Deed} icon=${result.selected ? 'square-check' : 'square'} command="tickCurrent"
    text=${t(result.selected ? 'page.ticked' : 'page.unticked')} aria-pressed=${result.selected && !result.deleted}
    disabled=${result.deleted} onClick=${() => toggle(task, result)} />`;
  const rejected = task.results.length > 0 && !kept(task).length;
  return html`<div class="review-deeds">${ticked}
    ${
      task.results.length > 0 &&
      html`<${Deed} icon=${rejected ? 'rotate-ccw' : 'ban'} command="reject"
        text=${t(rejected ? 'page.restore' : one ? 'page.reject' : 'page.rejectAll')}
        onClick=${() => rejectPair(task)} />`
    }
    ${
      result &&
      html`<${Deed} icon="save" command="save" text=${t('page.save.this')} onClick=${() => saveResult(task, result)} />`
    }
    <${Deed} icon="repeat-2" command="retry" text=${t('page.retry.again')} disabled=${busy}
      onClick=${() => retry(task)} />
    <${Deed} icon="undo-2" command="undo" text=${t('page.undo')} disabled=${!store.undoStack.value.length}
      onClick=${undoInReview} />
    <${Deed} icon="check" command="accept" text=${t('page.accept')} primary onClick=${() => accept(task)} /></div>`;
}

export function Review() {
  const { index, of, left, id, result: at } = store.review.value;
  const task = store.taskSignal(id)?.value;
  const box = useRef(null);
  useReviewKeys(task, at);
  useLayoutEffect(() => box.current.focus(), []);
  useEffect(() => () => document.getElementById(`card-${store.focusIndex.peek()}`)?.focus({ preventScroll: true }), []);
  if (!task) return html`<div class="review" ref=${box} tabindex="-1"></div>`;
  const place = Math.max(0, Math.min(at, task.results.length - 1));
  const result = task.results[place];
  const problem = task.status === 'stopped' ? task.warning : (task.error ?? task.warning);
  const bad = problem && problem === task.error;
  return html`<div class="review" role="dialog" aria-modal="true" aria-label=${t('page.review')} ref=${box}
    tabindex="-1">
    <${Head} task=${task} index=${index} of=${of} left=${left} /><${Banner} />
    <div class="review-middle"><${Stage} task=${task} current=${place} />
      ${store.panelOpen.value && html`<${Panel} task=${task} result=${result} n=${place + 1} />`}</div>
    ${
      problem &&
      html`<p class=${`review-problem ${bad ? 'bad' : 'warn'}`} dir="auto">
        <${Icon} name=${bad ? 'circle-x' : 'triangle-alert'} />${problemText(problem)}</p>`
    }
    <div class="review-foot"><${Strip} task=${task} at=${place} /><${Facts} task=${task} result=${result} />
      <${Deeds} task=${task} result=${result} /></div></div>`;
}
