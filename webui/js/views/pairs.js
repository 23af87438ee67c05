// Owns the long list: which rows are drawn, keeping the reader's place, moving in it by keys.
import { useSignalEffect } from '@preact/signals';
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from '@tanstack/virtual-core';
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks';
import { reject, toggle } from '../decide.js';
import { html } from '../html.js';
import { problemText, t } from '../i18n.js';
import { isTyping, press } from '../keymap.js';
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
  const all = {
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    overscan: OVERSCAN,
    ...options,
    onChange: () => redraw(),
  };
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
  for (let index = row * columns; index < Math.min(count, (row + 1) * columns); index += 1)
    cards.push(html`<${Card} key=${index - row * columns} index=${index} count=${count} />`);
  return cards;
}

function Cards({ row, columns, count, start, height }) {
  const style = {
    transform: `translateY(${start}px)`,
    height: `${height}px`,
    gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
  };
  return html`<div class="row" role="presentation" style=${style}>
    <${Row} row=${row} columns=${columns} count=${count} /></div>`;
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
      rest = setTimeout(() => {
        store.hurried.value = false;
      }, REST);
    };
    list.addEventListener('scroll', scrolled, { passive: true });
    return () => {
      list.removeEventListener('scroll', scrolled);
      clearTimeout(rest);
      store.hurried.value = false;
    };
  }, []);
}

/** What the keys of the list do; what they are stands in keymap.js. */
function handlersOf(virtual, columns) {
  const move = (to, event) => {
    const index = Math.max(0, Math.min((store.total.peek() ?? 1) - 1, to));
    store.focusIndex.value = index;
    virtual.scrollToIndex(Math.floor(index / columns), { align: 'auto' });
    const focus = () => document.getElementById(`card-${index}`)?.focus({ preventScroll: true });
    requestAnimationFrame(() => requestAnimationFrame(focus));
    if (event.shiftKey) selectTo(index);
  };
  const by = (steps) => (_, event) => move(store.focusIndex.peek() + steps, event);
  const onTask = (work) => async (key) => {
    const index = store.focusIndex.peek();
    const id = idAt(index);
    const task = id && (await fresh(id));
    if (task) work(task, index, key);
  };
  return {
    right: by(1),
    left: by(-1),
    down: by(columns),
    up: by(-columns),
    first: (_, event) => move(0, event),
    last: (_, event) => move(Infinity, event),
    open: onTask((task, index) => openReview(index)),
    select: onTask((task, index) => toggleSelected(index, task.id)),
    tick: onTask((task, index, key) => task.results[key - 1] && toggle(task, task.results[key - 1])),
    dropAll: onTask((task) => reject(task)),
    selectAll: () => selectAll(true),
    selectNone: () => selectAll(false),
    log: onTask((task) => {
      store.debugTask.value = task.id;
    }),
  };
}

/** Space and Enter on a control of a card are the control's. */
const OWN_KEYS = ['Enter', ' '];

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
  const virtual = useVirtualizer({
    count: rows,
    getScrollElement: () => box.current,
    estimateSize: () => rowHeight,
    paddingStart: EDGE,
    paddingEnd: EDGE,
  });
  const onKeyDown = (event) => {
    const control = event.target.closest('button, input, a');
    if (isTyping(event) || (control && OWN_KEYS.includes(event.key))) return;
    press('list', event, handlersOf(virtual, columns));
  };
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
  const pool = Math.ceil((box.current?.clientHeight ?? 0) / rowHeight) + 2 * OVERSCAN + 2; // rows drawn anew
  const first = (items[0]?.index ?? 0) * columns;
  const last = Math.min(count - 1, ((items.at(-1)?.index ?? 0) + 1) * columns - 1);
  const pages = store.pages.value;
  useEffect(() => {
    if (count) see(first, last);
  }, [first, last, count, pages]);
  const thumbs = { '--thumb': `${size}px` };
  return html`<div class="list" ref=${box} tabindex="0" role=${count ? 'list' : 'group'} aria-label=${t('page.list')}
    aria-busy=${store.total.value === null} style=${thumbs} onKeyDown=${onKeyDown}>
    ${
      store.listError.value &&
      html`<p class="list-note bad" role="alert">
      ${problemText(store.listError.value)} <button type="button" class="link" onClick=${reload}>${t('page.again')}
        </button></p>`
    }
    ${
      store.total.value === 0 &&
      (store.filtered.value || !store.taskCount.value) && // else the list is about to be read
      html`<p class="list-note">${t('page.list.nothing')}</p>`
    }
    <div class="rows" role="presentation" style=${{ height: `${virtual.getTotalSize()}px` }}>
      ${items.map(
        (item) => html`<${Cards} key=${item.index % pool} row=${item.index} columns=${columns} count=${count}
        start=${item.start} height=${rowHeight - GAP} />`,
      )}
    </div></div>`;
}
