// Owns the long list: which rows are drawn, keeping the reader's place, moving in it by keys.
import { useSignalEffect } from '@preact/signals';
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from '@tanstack/virtual-core';
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks';
import { drop, kept, toggle } from '../decide.js';
import { html } from '../html.js';
import { problemText, t } from '../i18n.js';
import { isTyping } from '../keys.js';
import { fresh, idAt, reload, see } from '../list.js';
import { openReview } from '../reviewing.js';
import { selectAll, selectTo, toggleSelected } from '../select.js';
import * as store from '../store.js';
import { Card, CARD_CHROME } from './card.js';

const GAP = 8;
const PAD = 8; // inside a card
const EDGE = 12; // around the list
const GIVE = 0.86; // pictures may get this much smaller than wished where a column more fits then
const OVERSCAN = 2; // rows
const HURRY = 3; // px a ms
const REST = 90; // ms

/** The virtual list of this component; it is drawn again when the rows in sight change. */
function useVirtualizer(options) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const all = { observeElementRect, observeElementOffset, scrollToFn: elementScroll, overscan: OVERSCAN, ...options, onChange: () => redraw() };
  const [virtual] = useState(() => new Virtualizer(all));
  virtual.setOptions(all);
  useLayoutEffect(() => virtual._didMount(), [virtual]);
  useLayoutEffect(() => virtual._willUpdate());
  return virtual;
}

function useWidth(box) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    setWidth(box.current.clientWidth);
    const watch = new ResizeObserver(() => setWidth(box.current?.clientWidth ?? 0));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  return width;
}

function Row({ row, columns, count }) {
  const cards = [];
  for (let index = row * columns; index < Math.min(count, (row + 1) * columns); index += 1) cards.push(html`<${Card} key=${index - row * columns} index=${index} count=${count} />`);
  return cards;
}

function Cards({ row, columns, count, start, height }) {
  const style = { transform: `translateY(${start}px)`, height: `${height}px`, gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` };
  return html`<div class="row" role="presentation" style=${style}><${Row} row=${row} columns=${columns} count=${count} /></div>`;
}

/** Keeps the first row in sight where it is when tasks before it come or go. */
function useShift(box, columns, rowHeight) {
  const seen = useRef(store.shift.peek().at);
  const shape = useRef();
  shape.current = { columns, rowHeight };
  useSignalEffect(() => {
    const { by, at, top } = store.shift.value;
    if (at === seen.current || !box.current) return;
    seen.current = at;
    if (top) box.current.scrollTop = 0;
    else if (by) box.current.scrollTop += Math.round(by / shape.current.columns) * shape.current.rowHeight;
  });
}

/** Notes when the list is scrolled faster than anybody can look. */
function useHurry(box) {
  useEffect(() => {
    const list = box.current;
    let [top, at, rest] = [list.scrollTop, performance.now(), 0];
    const scrolled = () => {
      const [newTop, now] = [list.scrollTop, performance.now()];
      const speed = Math.abs(newTop - top) / Math.max(1, now - at);
      [top, at] = [newTop, now];
      if (speed > HURRY) store.hurried.value = true;
      clearTimeout(rest);
      rest = setTimeout(() => { store.hurried.value = false; }, REST);
    };
    list.addEventListener('scroll', scrolled, { passive: true });
    return () => {
      list.removeEventListener('scroll', scrolled);
      clearTimeout(rest);
      store.hurried.value = false;
    };
  }, []);
}

function useKeys(virtual, columns) {
  const move = (to, extend) => {
    const index = Math.max(0, Math.min((store.total.peek() ?? 1) - 1, to));
    store.focusIndex.value = index;
    virtual.scrollToIndex(Math.floor(index / columns), { align: 'auto' });
    requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById(`card-${index}`)?.focus({ preventScroll: true })));
    if (extend) selectTo(index);
  };
  return async (event) => {
    if (isTyping(event) || event.altKey) return;
    const at = store.focusIndex.peek();
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (key !== 'a') return;
      event.preventDefault();
      selectAll(true);
    } else if (key in steps) {
      event.preventDefault();
      move(at + steps[key], event.shiftKey);
    } else if (key === 'Home' || key === 'End') {
      event.preventDefault();
      move(key === 'Home' ? 0 : Infinity, event.shiftKey);
    } else if (key === 'Escape') selectAll(false);
    else if (!event.target.closest('button, input')) await onTask(event, key, at);
  };
}

async function onTask(event, key, index) {
  const id = idAt(index);
  if (!id || !(key === 'Enter' || key === ' ' || /^[1-9xl]$/.test(key))) return;
  event.preventDefault();
  const task = await fresh(id);
  if (!task) return;
  if (key === 'Enter') openReview(index);
  else if (key === ' ') toggleSelected(index, id);
  else if (key === 'l') store.debugTask.value = id;
  else if (key === 'x') kept(task).forEach((result) => drop(task, result));
  else if (task.results[key - 1]) toggle(task, task.results[key - 1]);
}

/** How many cards stand in a row, and how large their pictures get so that the row is filled. */
export function arrange(width, wanted, slots) {
  const beside = GAP * slots + PAD * 2 + 2; // of a card, beside its pictures
  const room = Math.max(0, width - EDGE * 2);
  const columns = Math.max(1, Math.floor((room + GAP) / (wanted * GIVE * (1 + slots) + beside + GAP)));
  const card = (room - GAP * (columns - 1)) / columns;
  return { columns, size: Math.max(64, Math.min(wanted * 1.6, Math.floor((card - beside) / (1 + slots)))) };
}

export function Pairs() {
  const box = useRef(null);
  const width = useWidth(box);
  const count = store.total.value ?? 0;
  const { columns, size } = arrange(width, store.thumbSize.value, store.slots.value);
  const rowHeight = size + CARD_CHROME + GAP;
  const rows = Math.ceil(count / columns);
  const virtual = useVirtualizer({ count: rows, getScrollElement: () => box.current, estimateSize: () => rowHeight, paddingStart: EDGE, paddingEnd: EDGE });
  const onKeyDown = useKeys(virtual, columns);
  useShift(box, columns, rowHeight);
  useHurry(box);
  const shape = useRef({ columns, rowHeight });
  useLayoutEffect(() => {
    const before = shape.current;
    if (before.columns === columns && before.rowHeight === rowHeight) return;
    shape.current = { columns, rowHeight };
    const first = Math.floor(Math.max(0, box.current.scrollTop - EDGE) / before.rowHeight) * before.columns;
    virtual.measure();
    if (first > 0) box.current.scrollTop = EDGE + Math.floor(first / columns) * rowHeight;
  }, [columns, rowHeight]);
  const items = virtual.getVirtualItems();
  const pool = Math.ceil((box.current?.clientHeight ?? 0) / rowHeight) + 2 * OVERSCAN + 2; // rows that leave are drawn anew as rows that come
  const first = (items[0]?.index ?? 0) * columns;
  const last = Math.min(count - 1, ((items.at(-1)?.index ?? 0) + 1) * columns - 1);
  const pages = store.pages.value;
  useEffect(() => { if (count) see(first, last); }, [first, last, count, pages]);
  const thumbs = { '--thumb': `${size}px` };
  return html`<div class="list" ref=${box} tabindex="0" role="list" aria-label=${t('page.list')} aria-busy=${store.total.value === null} style=${thumbs} onKeyDown=${onKeyDown}>
    ${store.listError.value && html`<p class="list-note bad" role="alert">${problemText(store.listError.value)} <button type="button" class="link" onClick=${reload}>${t('page.again')}</button></p>`}
    ${store.total.value === 0 && html`<p class="list-note">${t('page.list.nothing')}</p>`}
    <div class="rows" role="presentation" style=${{ height: `${virtual.getTotalSize()}px` }}>
      ${items.map((item) => html`<${Cards} key=${item.index % pool} row=${item.index} columns=${columns} count=${count} start=${item.start} height=${rowHeight - GAP} />`)}
    </div></div>`;
}
