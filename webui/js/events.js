// Owns the event stream: takes changes into the store, notices a lost server and a newer program, changes the language.
import { batch } from '@preact/signals';
import { admit, call, eventsUrl } from './api.js';
import { nearest, problemText, setLanguage } from './i18n.js';
import { catchUp, growSlots, readAgain, reload } from './list.js';
import { toast } from './notices.js';
import { follow } from './projects.js';
import { closeReview } from './reviewing.js';
import * as store from './store.js';

const RETRY = 2000; // ms

const { stream } = store.memory;

/** Opens the stream and keeps it open; calls `onFinished` when a run ends. */
export function connect(onFinished = store.memory.finish) {
  store.memory.finish = onFinished;
  clearTimeout(stream.retryTimer);
  stream.source?.close();
  stream.resumed = stream.source !== null;
  stream.source = new EventSource(stream.resumed ? eventsUrl(stream.revision) : eventsUrl());
  for (const kind of ['snapshot', 'change']) {
    stream.source.addEventListener(kind, (event) => take(kind, admit(JSON.parse(event.data)), onFinished));
  }
  stream.source.addEventListener('error', () => {
    store.connection.value = 'lost';
    stream.settingsHeld = -1; // a server that was started anew counts from the beginning
    stream.source.close();
    stream.retryTimer = setTimeout(() => connect(onFinished), RETRY);
  });
}

/** Speaks another language from now on; hears and lists everything again, since failures have other words in it. */
export async function chooseLanguage(lang) {
  await setLanguage(nearest(lang));
  connect();
  catchUp(true);
  await refresh();
}

/** Lets go of the stream while nobody looks and nothing runs: a browser opens only six connections to one server. */
export function restWhenHidden(onFinished) {
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && stream.source?.readyState === EventSource.CLOSED) connect(onFinished);
    else if (document.hidden && !store.working.peek()) {
      clearTimeout(stream.retryTimer);
      stream.source?.close();
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
  if ('cluster' in data) store.cluster.value = data.cluster;
  if ('job' in data) store.job.value = data.job;
  if ('looked_at' in data) store.lookedAt.value = data.looked_at;
}

/** A state as a whole. */
export function takeState(data) {
  takeFigures(data);
  stream.project = data.project;
  stream.revision = data.revision ?? stream.revision;
  takeSettings(data);
}

/** The part of a state that changes seldom; left aside where a newer one is here already. */
function takeSettings(data) {
  if ((data.settings_revision ?? stream.settingsHeld) < stream.settingsHeld) return;
  stream.settingsTold = data.settings_revision ?? stream.settingsTold;
  if (data.current_config) stream.settingsHeld = data.settings_revision ?? stream.settingsHeld;
  if ('demo' in data) store.demo.value = data.demo;
  if (data.current_config) store.config.value = data.current_config;
  if (data.presets) store.presets.value = data.presets;
  if (data.notices) tellNotices(data.notices);
}

/** Shows what came up beside what was asked for, each once. */
function tellNotices(notices) {
  if (notices.length < stream.noticesTold) stream.noticesTold = 0; // of a server that was started anew
  for (const notice of notices.slice(stream.noticesTold)) toast(problemText(notice), { kind: 'error' });
  stream.noticesTold = notices.length;
}

/** What the stream tells: all there is (snapshot; where only what was missed was asked for, since the list was cleared)
 * or what happened since. */
function take(kind, data, onFinished) {
  if (data.version !== store.version) return location.reload(); // nothing that is known holds any more
  if (data.project !== stream.project) return follow();
  store.asked.status();
  const wasRunning = store.running.peek();
  const lost = store.connection.peek() === 'lost';
  const before = stream.revision;
  if (lost || data.settings_revision !== stream.settingsTold) refresh().catch(() => undefined); // the stream tells
  batch(() => {
    store.connection.value = 'open';
    takeFigures(data);
    stream.revision = data.revision;
    stream.settingsTold = data.settings_revision;
    store.live.value = data.live;
    if (kind === 'change' && !data.reset) takeTasks(data);
  });
  if (kind === 'snapshot' && !stream.resumed) {
    if (stream.revision > before) catchUp(); // something happened while the page came up
    return;
  }
  if (data.reset) {
    store.tasks.clear();
    leave(() => true);
    store.slots.value = 1;
    reload();
  } else if (data.removed?.length || data.truncated || listMayMove(data)) {
    catchUp(store.total.peek() === 0 || data.removed?.length > 0);
    if (data.truncated && store.review.peek()) readAgain(store.review.peek().id); // which the list leaves as it is
  }
  if (wasRunning && !data.running) onFinished(data.progress);
}

function takeTasks(data) {
  for (const task of data.tasks ?? []) if (store.tasks.has(task.id)) store.putTask(task);
  const [first] = store.pages.peek().values();
  growSlots((first ?? []).map((id) => store.taskSignal(id)?.peek()).filter(Boolean));
  if (data.removed?.length) {
    const gone = new Set(data.removed);
    store.selection.value = new Set([...store.selection.peek()].filter((id) => !gone.has(id)));
    for (const id of gone) store.memory.gone.add(id); // shown until the list is read again, which is now
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
  const stands = store.asked.status();
  const data = await call('get_state', { tasks: 0 });
  if (data.project !== stream.project) return data; // the stream tells, and the page begins anew
  batch(() => (stands() ? takeState : takeSettings)(data));
  return data;
}
