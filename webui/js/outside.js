// Owns what shows outside the page: title, favicon badge, notification when a run ends.
import { effect } from '@preact/signals';
import { number, t } from './i18n.js';
import { announce } from './notices.js';
import * as store from './store.js';

const { memory } = store;

/** Keeps title and favicon in step with the run. */
export function startOutside() {
  memory.baseIcon = document.getElementById('favicon').getAttribute('href');
  let shown = '';
  effect(() => {
    const state = store.working.value ? 'run' : memory.ended ? (memory.ended.failed ? 'failed' : 'done') : '';
    document.title = title();
    if (state !== shown) drawBadge(state);
    shown = state;
  });
  addEventListener('focus', () => {
    if (!memory.ended) return;
    memory.ended = null;
    document.title = title();
    drawBadge('');
    shown = '';
  });
}

function title() {
  const name = t('page.title');
  const { percent, total } = store.progress.value;
  if (store.working.value && total) return `${Math.floor(percent)}% · ${name}`;
  const { done, failed } = memory.ended ?? {};
  if (memory.ended) return `${t('page.title.ended', { done: number(done), failed: number(failed) })} · ${name}`;
  return name;
}

/** Tells that a run has ended: to readers always, by notification if the person allowed it and looks elsewhere. */
export function runFinished(progress) {
  const text = t('page.run.ended', { done: progress.done + progress.partial_success, failed: progress.failed });
  announce(text);
  if (document.hasFocus()) return;
  memory.ended = { done: progress.done + progress.partial_success, failed: progress.failed };
  document.title = title();
  drawBadge(memory.ended.failed ? 'failed' : 'done');
  if (store.notify.peek() && globalThis.Notification?.permission === 'granted') {
    new Notification(t('page.title'), { body: text, silent: true, tag: 'run' });
  }
}

/** Asks the system for leave to notify; the answer is remembered. */
export async function chooseNotify(wanted) {
  store.notify.value = wanted && (await globalThis.Notification?.requestPermission()) === 'granted';
}

function drawBadge(state) {
  const link = document.getElementById('favicon');
  if (!state) {
    link.setAttribute('href', memory.baseIcon);
    return;
  }
  const picture = new Image();
  picture.src = memory.baseIcon;
  picture.onload = () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
    const pen = canvas.getContext('2d');
    pen.drawImage(picture, 0, 0, 64, 64);
    pen.fillStyle = { run: '#e09b1a', done: '#1f8a4c', failed: '#c8372d' }[state];
    pen.strokeStyle = '#fff';
    pen.lineWidth = 4;
    pen.beginPath();
    pen.arc(48, 48, 13, 0, Math.PI * 2);
    pen.fill();
    pen.stroke();
    link.setAttribute('href', canvas.toDataURL('image/png'));
  };
}
