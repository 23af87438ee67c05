// Owns all state of the page: every signal is declared here, and what changes without being shown is kept here too.
import { computed, signal } from '@preact/signals';
import { makeGuard } from './late.js';

/* where the person is */
export const PLACES = ['connect', 'try', 'run', 'judge', 'set'];
export const place = signal('connect');

/* what the program says */
export const connection = signal('connecting'); // connecting, open, lost
export const version = document.querySelector('meta[name=version]')?.content ?? '';
export const demo = signal(false);
export const running = signal(false);
export const stopRequested = signal(false);
export const singleRetries = signal(0);
export const taskCount = signal(0);
export const progress = signal({
  total: 0,
  pending: 0,
  processing: 0,
  done: 0,
  partial_success: 0,
  failed: 0,
  stopped: 0,
  finished: 0,
  percent: 0,
});
export const run = signal({ in_flight: 0, rate_per_minute: null, seconds_left: null, paused: null });
export const cluster = signal(null); // machines that make the calls; null without
export const live = signal({}); // task id → {percent, stage, preview_url?}
export const config = signal({});
export const presets = signal({});
export const templates = signal([]);
export const saveRules = signal([]);
export const templateVariables = signal({ name: [], text: [] });
export const projects = signal(null); // {current, projects}; null where the program knows none

/* the list: pages of task ids, and a signal for each task that is loaded */
export const tasks = new Map();
export const pages = signal(new Map());
export const total = signal(null); // null until the first answer
export const NO_FILTER = {
  status: [],
  only: [],
  finding: [],
  failure: [],
  prompt: '',
  folder: '',
  score_min: '',
  score_max: '',
  q: '',
};
export const filter = signal({ ...NO_FILTER, sort: 'order', desc: false });
export const facets = signal(null); // counts for the filter: {only, failures, prompts, folders}
export const listError = signal(null);
export const shift = signal({ by: 0, at: 0 }); // rows moved under the reader: the list scrolls along
export const thumbSize = signal(128);
export const slots = signal(1); // results shown in a card
export const hurried = signal(false); // scrolled faster than one can look: pictures wait
export const focusIndex = signal(0);

/* selection: ids, or everything in the filter */
export const selection = signal(new Set());
export const selectedAll = signal(false);
export const selectionAnchor = signal(null);
export const selectionCount = computed(() => (selectedAll.value ? (total.value ?? 0) : selection.value.size));

/* the forms: what is entered, of which fields, and what is wrong; errors by `form.field` */
const FORMS = ['config', 'judge', 'plan', 'rule', 'set', 'guard', 'trial'];
const byForm = (value) => Object.fromEntries(FORMS.map((form) => [form, signal(value)]));
export const forms = byForm({});
export const specs = byForm([]);
export const fieldErrors = signal({});
export const faultPlaces = signal({}); // by the same names: path or offset of what is wrong inside a JSON text
export const fieldNotes = signal({}); // what was done to an entry, in words
export const folds = signal({});
export const presetName = signal('');
export const service = signal(''); // id of the template that the form was filled from
export const recentPaths = signal([]);
export const recentOutputs = signal([]);
export const inspection = signal(null); // null, {busy}, {error}, or the program's answer
export const mixed = signal(''); // a folder whose pictures are to join this project although it is another one's
export const lostFolder = signal(''); // the path that was looked at and is not there
export const inspectionStale = signal(false); // what is entered has changed since
export const lookedAt = signal(null); // files seen so far while a folder is looked through
export const testResult = signal(null);
export const role = signal('config'); // whose connection is shown: config (edits), judge
export const keyStore = signal(''); // where keys lie, as the program calls it: system, file
export const rubrics = signal(null); // null until they are read
export const rubric = signal(null); // the rubric that is being written
export const remote = signal([]); // jobs and batches that are still at a provider
export const probe = signal(null); // {trial, task, before}: one picture that was really sent
export const ruleId = signal('');
export const nameExamples = signal([]);
export const busy = signal(new Set()); // names of deeds under way

/* the trial */
export const columns = signal([{ name: '1', user_prompt: '' }]);
export const library = signal([]); // prompts of one's own: {text, starred}
export const trial = signal(null); // as get_trial tells of it
export const trials = signal([]); // earlier ones, the latest first
export const trialNumbers = signal({}); // task id → what was measured of its picture, null where nothing could be
export const trialLarge = signal(false); // whether the current row is shown large
export const trialRow = signal(0);
export const scoresShown = signal(false);

/* the judge */
export const judge = signal(null); // its settings; null until they are read
export const judgeReport = signal(null); // how its scores lie, and how far it agrees with the person

/* training sets */
export const job = signal(null); // the job that runs, or the last one
export const setChoices = signal(null); // trainers, modes, thresholds, kinds of findings
export const thresholds = signal({}); // those that were changed
export const allow = signal([]); // kinds of findings that are no reason to leave a pair out
export const findings = signal(null);
export const foundTasks = signal(null); // tasks by kind of finding, as the list would show them; null before a check
export const findingKind = signal('');

/* what lies over the page */
export const review = signal(null); // {index, of, left, id, result}: place in the list as it was when opened, …
export const reviewMode = signal('side'); // side, slider, difference, result
export const reviewView = signal({ scale: null, x: 0, y: 0 }); // scale null: fitted
export const flicker = signal(false);
export const panelOpen = signal(true); // what is known of the pair, beside its pictures
export const debugTask = signal(null);
export const dialog = signal(null);
export const menu = signal(null);
export const toasts = signal([]);
export const announcement = signal('');
export const undoStack = signal([]);
export const redoStack = signal([]);

/* taste and words */
export const language = signal('zh-CN');
export const catalogue = signal({});
export const theme = signal('system'); // system, light, dark
export const notify = signal(false);
export const keymap = signal('own'); // own, photo
export const rejectGoesOn = signal(true);

/* questions of which only the last answer counts */
export const asked = {
  facets: makeGuard(),
  findings: makeGuard(),
  folders: makeGuard(),
  language: makeGuard(),
  list: makeGuard(),
  names: makeGuard(),
  path: makeGuard(),
  remote: makeGuard(),
  report: makeGuard(),
  review: makeGuard(),
  status: makeGuard(), // an event is an answer too
  trial: makeGuard(),
};

/* what no view shows */
export const memory = {
  baseIcon: null,
  door: { language: navigator.language, bridge: null },
  decisions: new Map(), // task id → the call under way: one after the other, so that the last decision wins
  ended: null, // {done, failed}: a run that ended while the person looked elsewhere
  finish: null, // what to call when a run ends
  formats: {}, // of numbers and dates in the chosen language
  going: false, // whether this tab is opening another project
  gone: new Set(), // tasks that are deleted, but shown until the list is read again
  lastToast: 0,
  leaving: false, // the page is being left or loaded anew: calls under way are cut off
  list: { underway: new Map(), inSight: [0, 0], settleTimer: 0, catchUpTimer: 0, stands: () => true },
  moving: Promise.resolve(), // steps go back and forth one after the other, however fast the key is pressed
  pathTimer: 0,
  pictures: new Map(), // url → {image, ready}, the oldest first
  pictureFacts: new Map(), // url → {width, height, bytes}
  presetTurn: Promise.resolve(),
  // The list as it was when the review was opened: a decision may take a task out of a filtered list, and the next one
  // would then be passed over. `undecided`: places in it, ascending; null until it is read.
  review: { way: { ids: [], undecided: null }, reading: Promise.resolve(), held: [] },
  saving: { timer: 0, loaded: false },
  stream: {
    source: null,
    project: '', // the id of the one that the page shows
    retryTimer: 0,
    resumed: false, // whether it was asked only for what was missed
    revision: 0,
    noticesTold: 0,
    settingsTold: null, // revision of the settings that was told of last
    settingsHeld: -1, // revision of the settings that the page holds
  },
};

/** True while a batch or a single retry runs. */
export const working = computed(() => running.value || singleRetries.value > 0);
/** True where the list shows less than everything. */
export const filtered = computed(() => {
  const now = filter.value;
  return Object.keys(NO_FILTER).some((part) => now[part].length > 0);
});

/** The signal of a task's data, or undefined where it is not loaded. */
export function taskSignal(id) {
  return tasks.get(id);
}

const marked = new Map(); // task id → marks that were made here and are not answered yet

/** Takes in a task; gives its signal. A decision that is being written stands before what the program told. */
export function putTask(task) {
  const known = tasks.get(task.id);
  if (known && known.peek().revision > task.revision) return known;
  const now = withMarks(task);
  if (known) known.value = now;
  else tasks.set(task.id, signal(now));
  return tasks.get(task.id);
}

/** A task with the marks made here; `told` is then the task as the program told of it. */
function withMarks(task) {
  const told = task.told ?? task;
  const marks = marked.get(task.id);
  if (!marks) return told;
  const results = told.results.map((one) => ({
    ...one,
    selected: marks.ticked[one.id] ?? one.selected,
    deleted: marks.dropped[one.id] ?? one.deleted,
  }));
  const kept = results.filter((one) => !one.deleted);
  return {
    ...told,
    told,
    decided: marks.decided ?? told.decided,
    results,
    result_count: kept.length,
    selected_count: kept.filter((one) => one.selected).length,
  };
}

/** Shows marks on a task until they are answered; null: the task is again as the program told of it. */
export function mark(id, marks) {
  const before = marked.get(id);
  if (!marks) marked.delete(id);
  else {
    marked.set(id, {
      ticked: { ...before?.ticked, ...marks.ticked },
      dropped: { ...before?.dropped, ...marks.dropped },
      decided: marks.decided ?? before?.decided ?? null,
    });
  }
  const known = tasks.get(id);
  if (known) known.value = withMarks(known.peek());
}
