// Owns the pictures of the review view: panes with one zoom and pan, slider, flicker, difference.
import 'img-comparison-slider';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { whyNot } from '../api.js';
import { heatMap } from '../heat.js';
import { html, Icon } from '../html.js';
import { oneDigit, t } from '../i18n.js';
import { shown } from '../preload.js';
import { panBy, setZoom, zoomBy } from '../reviewing.js';
import * as store from '../store.js';
import { ScoreTag } from './scores.js';

/** Where a picture of w×h lies in a pane of W×H under the present zoom and centre; scale: CSS pixels a pixel. */
export function placement(view, width, height, paneWidth, paneHeight) {
  const fitted = Math.min(paneWidth / width, paneHeight / height);
  const scale = Math.round(fitted * (view.scale ?? 1) * 1e9) / 1e9; // so that 1 : 1 is exactly that
  const place = (centre, length, pane) =>
    length * scale <= pane
      ? (pane - length * scale) / 2
      : Math.min(0, Math.max(pane - length * scale, pane / 2 - centre * length * scale));
  return { fitted, scale, x: place(view.x, width, paneWidth), y: place(view.y, height, paneHeight) };
}

/** Size of a pane in whole pixels: panes that are as wide get the same, wherever their edges fall. */
function sizeOf(pane) {
  const { width, height } = pane.getBoundingClientRect();
  return [Math.floor(width), Math.floor(height)];
}

/** Zoom at which one picture pixel is one screen pixel. */
export function originalZoom(pane) {
  const { width, height } = pane.dataset;
  const [paneWidth, paneHeight] = sizeOf(pane);
  return 1 / (devicePixelRatio * Math.min(paneWidth / width, paneHeight / height));
}

const natural = (node) =>
  node instanceof HTMLCanvasElement ? [node.width, node.height] : [node.naturalWidth || 1, node.naturalHeight || 1];

const PATIENCE = 120; // ms for which the pictures of the pair before stay: longer, and one could judge the wrong pair

/** Puts the picture of a pane into its place; again whenever zoom, pan or size change. */
function lay(pane, nominal) {
  const node = pane.querySelector('.layer')?.firstChild;
  if (!node || !pane.clientWidth) return;
  const [width, height] = nominal ?? natural(node);
  const { x, y, scale } = placement(store.reviewView.value, width, height, ...sizeOf(pane));
  pane.dataset.width = width;
  pane.dataset.height = height;
  const layer = node.parentNode;
  node.style.width = `${width}px`;
  node.style.height = `${height}px`;
  layer.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  node.style.imageRendering = scale * devicePixelRatio >= 3 ? 'pixelated' : 'auto';
}

/** When every pane of a step shows its picture: closes the measure that tests read. */
function noteShown() {
  if ([...document.querySelectorAll('.stage .pane')].some((pane) => pane.dataset.shown !== pane.dataset.url)) return;
  if (!performance.getEntriesByName('review-step-start').length) return;
  performance.measure('review-step', 'review-step-start');
  performance.clearMarks('review-step-start');
}

function usePicture(pane, url, make, nominal) {
  const [state, setState] = useState({}); // {loading} or {why}: what stands in the place of the picture
  const keep = useRef(nominal);
  keep.current = nominal;
  useEffect(() => {
    let current = true;
    const put = (now, ...nodes) => {
      if (!current || !pane.current) return;
      pane.current.querySelector('.layer').replaceChildren(...nodes);
      setState(now);
    };
    const late = setTimeout(put, PATIENCE, { loading: true });
    (make ? make() : shown(url)).then(
      (node) => {
        clearTimeout(late);
        put({}, node);
        if (!current || !pane.current) return;
        pane.current.dataset.shown = url;
        lay(pane.current, keep.current);
        noteShown();
      },
      async () => {
        const why = (await whyNot(url)) || t('page.picture.failed');
        clearTimeout(late);
        put({ why });
      },
    );
    return () => {
      current = false;
      clearTimeout(late);
    };
  }, [url, make]);
  useEffect(() => {
    const watch = new ResizeObserver(() => pane.current && lay(pane.current, keep.current));
    watch.observe(pane.current);
    return () => watch.disconnect();
  }, []);
  const view = store.reviewView.value;
  useLayoutEffect(() => lay(pane.current, keep.current), [view, nominal?.[0], nominal?.[1]]);
  return state;
}

function pointAt(pane, event) {
  const box = pane.getBoundingClientRect();
  const { width, height } = pane.dataset;
  const { x, y, scale } = placement(store.reviewView.peek(), Number(width), Number(height), box.width, box.height);
  return { x: (event.clientX - box.left - x) / (width * scale), y: (event.clientY - box.top - y) / (height * scale) };
}

const hands = {
  onWheel(event) {
    if (!event.currentTarget.dataset.width) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), pointAt(event.currentTarget, event));
  },
  onPointerDown(event) {
    if (event.button !== 0 || !store.reviewView.peek().scale) return;
    const pane = event.currentTarget;
    pane.setPointerCapture(event.pointerId);
    pane.classList.add('dragging');
    const { width, height } = pane.dataset;
    const [paneWidth, paneHeight] = sizeOf(pane);
    const fitted = Math.min(paneWidth / width, paneHeight / height);
    const move = (moved) => {
      const scale = fitted * (store.reviewView.peek().scale ?? 1);
      panBy(-moved.movementX / (width * scale), -moved.movementY / (height * scale));
    };
    pane.addEventListener('pointermove', move);
    pane.addEventListener(
      'lostpointercapture',
      () => {
        pane.removeEventListener('pointermove', move);
        pane.classList.remove('dragging');
      },
      { once: true },
    );
  },
  onDblClick(event) {
    if (store.reviewView.peek().scale) setZoom(1);
    else setZoom(originalZoom(event.currentTarget), pointAt(event.currentTarget, event));
  },
};

/** A pane with one picture; `nominal` = [w, h] makes pictures of other sizes lie upon each other. */
export function Pane({
  url,
  alt,
  label,
  make = null,
  nominal = null,
  badge = null,
  slot = undefined,
  class: extra = '',
}) {
  const pane = useRef(null);
  const { loading, why } = usePicture(pane, url, make, nominal);
  return html`<div class=${`pane ${extra}`} ref=${pane} slot=${slot} role="img" aria-label=${alt} aria-busy=${loading}
    data-url=${url} ...${hands}>
    <div class="layer"></div>
    ${
      loading &&
      html`<p class="pane-note"><${Icon} name="loader" size=${20} class="turning" /><span>
      ${t('page.loading')}</span></p>`
    }
    ${
      why &&
      html`<p class="pane-note pane-broken"><${Icon} name="image-off" size=${20} /><span dir="auto">${why}</span>
      </p>`
    }
    ${label && html`<span class="pane-label"><span>${label}</span>${badge}</span>`}</div>`;
}

function HeatPane({ task, result }) {
  const [share, setShare] = useState(null);
  const [make, setMake] = useState(null);
  useEffect(() => {
    setMake(() => async () => {
      const [source, edited] = await Promise.all([shown(task.source_image_url), shown(result.image_url)]);
      const heat = heatMap(source, edited);
      setShare(heat.share);
      return heat.canvas;
    });
  }, [task.source_image_url, result.image_url]);
  if (!make) return html`<div class="pane"></div>`;
  const label = share === null ? t('page.mode.difference') : t('page.review.changed', { share: oneDigit(share * 100) });
  return html`<${Pane} url=${result.image_url} make=${make} nominal=${[result.width, result.height]} alt=${label}
    label=${label} />`;
}

function Slider({ task, result }) {
  const slider = useRef(null);
  useLayoutEffect(() => {
    const push = (event) => {
      const by = { '[': -4, ']': 4 }[event.key];
      if (by) slider.current.value = Math.min(100, Math.max(0, Number(slider.current.value) + by));
    };
    addEventListener('keydown', push);
    return () => removeEventListener('keydown', push);
  }, []);
  const nominal = [result.width, result.height];
  return html`<div class="slider-box"><img-comparison-slider ref=${slider} keyboard="disabled" handle="true"
    tabindex="-1">
    <${Pane} slot="first" url=${task.source_image_url} nominal=${nominal} alt=${t('page.source')} />
    <${Pane} slot="second" url=${result.image_url} alt=${t('page.result')} /></img-comparison-slider>
    <span class="pane-label">${t('page.source')}</span><span class="pane-label at-right">${t('page.result')}</span>
      </div>`;
}

/** Which results stand side by side: at most four, the current one among them. */
export function inSight(results, current, mode) {
  if (mode !== 'side') return [current];
  if (results.length <= 4) return results.map((_, at) => at);
  const from = Math.min(Math.max(0, current - 1), results.length - 4);
  return [0, 1, 2, 3].map((n) => from + n);
}

function tag(result) {
  if (result.deleted)
    return html`<span class="tag dropped"><${Icon} name="ban" size=${13} />${t('page.dropped')}</span>`;
  return html`<span class=${`tag ${result.selected ? 'ticked' : ''}`}>
    <${Icon} name=${result.selected ? 'square-check' : 'square'} size=${13} />
      ${t(result.selected ? 'page.ticked' : 'page.unticked')}</span>`;
}

function ResultPane({ task, at, current, many }) {
  const result = task.results[at];
  const swapped = store.flicker.value;
  const badge = swapped ? null : html`<${ScoreTag} judged=${result.judgement} />${tag(result)}`;
  const label = swapped ? t('page.source') : t('page.result.name', { n: at + 1 });
  return html`<${Pane} class=${`${current && many ? 'current' : ''} ${result.deleted ? 'dropped' : ''}`}
    url=${swapped ? task.source_image_url : result.image_url} nominal=${swapped ? [result.width, result.height] : null}
    alt=${label} label=${label} badge=${badge} />`;
}

/** All pictures of one pair, in the present mode. */
export function Stage({ task, current }) {
  const mode = store.reviewMode.value;
  const result = task.results[current];
  if (!result)
    return html`<div class="stage" data-panes="1"><${Pane} url=${task.source_image_url} alt=${t('page.source')}
      label=${t('page.source')} /></div>`;
  if (mode === 'slider')
    return html`<div class="stage" data-panes="1"><${Slider} task=${task} result=${result} /></div>`;
  if (mode === 'difference')
    return html`<div class="stage" data-panes="2"><${ResultPane} task=${task} at=${current} />
      <${HeatPane} task=${task} result=${result} /></div>`;
  const panes = inSight(task.results, current, mode);
  return html`<div class="stage" data-panes=${panes.length + (mode === 'side' ? 1 : 0)}>
    ${
      mode === 'side' &&
      html`<${Pane} key="source" url=${task.source_image_url} alt=${t('page.source')}
      label=${t('page.source')} />`
    }
    ${panes.map(
      (at, place) => html`<${ResultPane} key=${place} task=${task} at=${at} current=${at === current}
      many=${panes.length > 1} />`,
    )}</div>`;
}
