// Owns all state of the page: every signal is declared here, and nowhere else changes are hidden.
import { computed, signal } from '@preact/signals';

/* what the program says */
export const connection = signal('connecting'); // connecting, open, lost
export const heard = signal(0); // events so far: an answer that was asked for before the last of them may be older than it
export const version = document.querySelector('meta[name=version]')?.content ?? '';
export const demo = signal(false);
export const running = signal(false);
export const stopRequested = signal(false);
export const singleRetries = signal(0);
export const taskCount = signal(0);
export const progress = signal({ total: 0, pending: 0, processing: 0, done: 0, partial_success: 0, failed: 0, stopped: 0, finished: 0, percent: 0 });
export const run = signal({ in_flight: 0, rate_per_minute: null, seconds_left: null, paused: null });
export const live = signal({}); // task id → {percent, stage, preview_url?}
export const config = signal({});
export const presets = signal({});
export const schema = signal([]);
export const templates = signal([]);
export const saveRules = signal([]);
export const templateVariables = signal({ name: [], text: [] });

/* the list: pages of task ids, and a signal for each task that is loaded */
export const tasks = new Map();
export const pages = signal(new Map());
export const total = signal(null); // null until the first answer
export const filter = signal({ status: [], only: [], finding: [], q: '', sort: 'order', desc: false });
export const listError = signal(null);
export const shift = signal({ by: 0, at: 0 }); // rows moved under the reader: the list scrolls along
export const thumbSize = signal(144);
export const slots = signal(1); // results shown in a card
export const hurried = signal(false); // scrolled faster than one can look: pictures wait
export const focusIndex = signal(0);

/* selection: ids, or everything in the filter */
export const selection = signal(new Set());
export const selectedAll = signal(false);
export const selectionAnchor = signal(null);
export const selectionCount = computed(() => (selectedAll.value ? (total.value ?? 0) : selection.value.size));

/* the settings side */
export const sideOpen = signal(true);
export const folds = signal({});
export const form = signal({});
export const fieldErrors = signal({});
export const presetName = signal('');
export const inputPath = signal('');
export const outputDir = signal('');
export const recentPaths = signal([]);
export const recentOutputs = signal([]);
export const plan = signal({ prompt_table: '', variants: '1', references: 'off', fresh: false });
export const inspection = signal(null); // null, {busy}, {error}, or the program's answer
export const lookedAt = signal(null); // files seen so far while a folder is looked through
export const testResult = signal(null);
export const rule = signal({});
export const ruleId = signal('');
export const nameExamples = signal([]);
export const busy = signal(new Set()); // names of deeds under way

/* training sets */
export const job = signal(null); // the job that runs, or the last one
export const datasetOpen = signal(false);
export const setChoices = signal(null); // trainers, modes, thresholds, kinds of findings
export const setForm = signal({
  trainer: 'ai_toolkit', name: 'set', caption_mode: 'prompt', caption_template: '{prompt}', trigger: '', picture_format: 'as_it_came', quality: '95',
  size_rule: 'as_it_came', size_value: '1024', validation: '0', seed: '0', output_dir: '', only_selected: true, first_only: false, crop_align: false,
  as_zip: false, stem_template: '{global_index:04}', leave_out: false, only_filtered: false, report: '', report_price: '', thresholds: {}, allow: [],
});
export const findings = signal(null);
export const foundTasks = signal(null); // tasks by kind of finding, as the list would show them; null before a check
export const findingKind = signal('');

/* what lies over the page */
export const review = signal(null); // {index, of, left, id, result}: place in the list as it was when opened, its length, undecided
export const reviewMode = signal('side'); // side, slider, difference, result
export const reviewView = signal({ scale: null, x: 0, y: 0 }); // scale null: fitted
export const flicker = signal(false);
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

/** True while a batch or a single retry runs. */
export const working = computed(() => running.value || singleRetries.value > 0);
/** True where the list shows less than everything. */
export const filtered = computed(() => {
  const now = filter.value;
  return now.status.length > 0 || now.only.length > 0 || now.finding.length > 0 || now.q !== '';
});

/** The signal of a task's data, or undefined where it is not loaded. */
export function taskSignal(id) {
  return tasks.get(id);
}

const wishes = new Map(); // result id → what the person made of it, until the program is known to know it

/** Takes a task's newer data in; a stale answer overwrites neither a newer one nor what the person has just done. */
export function putTask(task) {
  const known = tasks.get(task.id);
  if (!known) tasks.set(task.id, signal(asWished(task)));
  else if ((task.revision ?? 0) >= (known.peek().revision ?? 0)) known.value = asWished(task);
  return tasks.get(task.id);
}

/** A task with the wishes for its results fulfilled; `told` is then the task as the program told of it. */
function asWished(task) {
  const told = task.told ?? task;
  if (!wishes.size || !told.results.some((one) => wishes.has(one.id))) return told;
  const results = told.results.map((one) => ({ ...one, ...wishes.get(one.id) }));
  const kept = results.filter((one) => !one.deleted);
  return { ...told, told, decided: true, results, result_count: kept.length, selected_count: kept.filter((one) => one.selected).length };
}

/** Notes what the person made of a result; null where that is over, and the task is again as it was told of. */
export function wish(taskId, resultId, change) {
  if (change) wishes.set(resultId, { ...wishes.get(resultId), ...change });
  else wishes.delete(resultId);
  const known = tasks.get(taskId);
  if (known) known.value = asWished(known.peek());
}
