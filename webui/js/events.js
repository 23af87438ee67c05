// Owns the event stream: takes what changed into the store, notices a lost server and a newer program.
import { batch } from '@preact/signals';
import { call, eventsUrl } from './api.js';
import { problemText } from './i18n.js';
import { catchUp, growSlots, readAgain, reload } from './list.js';
import { toast } from './notices.js';
import { closeReview } from './reviewing.js';
import * as store from './store.js';

const RETRY = 2000; // ms

let source = null;
let retryTimer = 0;
let resumed = false; // whether the stream was asked only for what was missed
let revision = 0;
let told = 0; // notices shown
let settings = null; // revision of the settings that was told of last
let finish = null; // what to call when a run ends
let taken = -1; // revision of the settings that the page holds

/** Opens the stream and keeps it open; calls `onFinished` when a run ends. */
export function connect(onFinished = finish) {
  finish = onFinished;
  clearTimeout(retryTimer);
  source?.close();
  resumed = source !== null;
  source = new EventSource(resumed ? eventsUrl(revision) : eventsUrl());
  for (const kind of ['snapshot', 'change']) {
    source.addEventListener(kind, (event) => take(kind, JSON.parse(event.data), onFinished));
  }
  source.addEventListener('error', () => {
    store.connection.value = 'lost';
    taken = -1; // a server that was started anew counts from the beginning
    source.close();
    retryTimer = setTimeout(() => connect(onFinished), RETRY);
  });
}

/** Hears and lists everything again: in another language, failures have other words. */
export async function hearAgain() {
  connect();
  catchUp(true);
  await refresh();
}

/** Lets go of the stream while nobody looks and nothing runs: a browser opens only six connections to one server. */
export function restWhenHidden(onFinished) {
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && source?.readyState === EventSource.CLOSED) connect(onFinished);
    else if (document.hidden && !store.working.peek()) {
      clearTimeout(retryTimer);
      source?.close();
    }
  });
}

/** The run's figures, which state, snapshot and change events share. */
export function takeFigures(data) {
  store.running.value = data.running;
  store.stopRequested.value = data.stop_requested;
  store.singleRetries.value = data.single_retry_count ?? Number(data.single_retry_running ?? 0);
  store.taskCount.value = data.task_count;
  store.progress.value = data.progress;
  if (data.run) store.run.value = data.run;
  if ('job' in data) store.job.value = data.job;
  if ('looked_at' in data) store.lookedAt.value = data.looked_at;
}

/** A state as a whole. */
export function takeState(data) {
  takeFigures(data);
  revision = data.revision ?? revision;
  takeSettings(data);
}

/** The part of a state that changes seldom; left aside where a newer one is here already. */
function takeSettings(data) {
  if ((data.settings_revision ?? taken) < taken) return;
  settings = data.settings_revision ?? settings;
  if (data.current_config) taken = data.settings_revision ?? taken;
  if ('demo' in data) store.demo.value = data.demo;
  if (data.current_config) store.config.value = data.current_config;
  if (data.presets) store.presets.value = data.presets;
  if (data.notices) tellNotices(data.notices);
}

/** Shows what came up beside what was asked for, each once. */
function tellNotices(notices) {
  if (notices.length < told) told = 0; // of a server that was started anew
  for (const notice of notices.slice(told)) toast(problemText(notice), { kind: 'error' });
  told = notices.length;
}

/** What the stream tells: all there is (snapshot; where only what was missed was asked for, since the list was cleared)
 * or what happened since. */
function take(kind, data, onFinished) {
  if (data.version !== store.version) {
    location.reload();
    return;
  }
  store.heard.value += 1;
  const wasRunning = store.running.peek();
  const lost = store.connection.peek() === 'lost';
  const before = revision;
  if (lost || data.settings_revision !== settings) refresh().catch(() => undefined); // the stream tells
  batch(() => {
    store.connection.value = 'open';
    takeFigures(data);
    revision = data.revision;
    settings = data.settings_revision;
    store.live.value = data.live;
    if (kind === 'change' && !data.reset) takeTasks(data);
  });
  if (kind === 'snapshot' && !resumed) {
    if (revision > before) catchUp(); // something happened while the page came up
    return;
  }
  if (data.reset) {
    store.tasks.clear();
    leave(() => true);
    store.slots.value = 1;
    reload();
  } else if (data.removed?.length || data.truncated || listMayMove(data)) {
    catchUp(store.total.peek() === 0);
    if (data.truncated && store.review.peek()) readAgain(store.review.peek().id); // which the list leaves as it is
  }
  if (wasRunning && !data.running) onFinished(data.progress);
}

function takeTasks(data) {
  for (const task of data.tasks ?? []) if (store.tasks.has(task.id)) store.putTask(task);
  growSlots(data.tasks ?? []);
  if (data.removed?.length) {
    const gone = new Set(data.removed);
    store.selection.value = new Set([...store.selection.peek()].filter((id) => !gone.has(id)));
    for (const id of gone) store.tasks.delete(id);
    leave((id) => gone.has(id));
  }
}

/** Closes what shows a task that is no more. */
function leave(isGone) {
  if (store.review.peek() && isGone(store.review.peek().id)) closeReview();
  if (store.debugTask.peek() && isGone(store.debugTask.peek())) store.debugTask.value = null;
}

function listMayMove(data) {
  if (!store.filtered.peek() && data.task_count !== store.total.peek()) return true;
  return data.tasks?.length > 0 && (store.filtered.peek() || !['order', 'name'].includes(store.filter.peek().sort));
}

/** Asks for the state again, for what no event tells (settings changed in another tab). */
export async function refresh() {
  const heard = store.heard.peek();
  const data = await call('get_state', { tasks: 0 });
  batch(() => (heard === store.heard.peek() ? takeState : takeSettings)(data));
  return data;
}
