// Owns the making of training sets: what the person wants of a set, the jobs that make it, and what preflight found.
import { effect } from '@preact/signals';
import { deed } from './actions.js';
import { call } from './api.js';
import { toast, toastError } from './notices.js';
import { problemText, t } from './i18n.js';
import { catchUp, match, setFilter } from './list.js';
import * as store from './store.js';

const SHOWN = 200; // findings asked for at once

/** Opens the drawer; the choices are asked for once. */
export function openDataset() {
  store.datasetOpen.value = true;
  return deed('dataset open', async () => {
    store.setChoices.value ??= await call('list_trainers');
    await loadFindings();
  });
}

/** Opens the drawer and begins a check. */
export async function openAndCheck() {
  await openDataset();
  if (store.job.peek()?.status !== 'running') await check();
}

export function closeDataset() {
  store.datasetOpen.value = false;
}

/** A value of the form; what was wrong with it is forgotten. */
export function enterSet(name, value) {
  store.setForm.value = { ...store.setForm.peek(), [name]: value };
  const { [name]: _, ...others } = store.fieldErrors.peek();
  store.fieldErrors.value = others;
}

export function enterThreshold(name, text) {
  const { [name]: _, ...others } = store.setForm.peek().thresholds;
  enterSet('thresholds', text === '' ? others : { ...others, [name]: Number(text) });
}

/** Takes pairs with this kind of finding all the same, or no longer. */
export function enterAllowed(kind, allowed) {
  const others = store.setForm.peek().allow.filter((one) => one !== kind);
  enterSet('allow', allowed ? [...others, kind] : others);
}

/** The form as the operations take it. */
function options() {
  const form = store.setForm.peek();
  return {
    ...form,
    quality: Number(form.quality) || 0,
    size_value: Number(form.size_value) || 0,
    validation: (Number(form.validation) || 0) / 100,
    seed: Number(form.seed) || 0,
    output_dir: form.output_dir || store.outputDir.peek(),
    match: form.only_filtered && store.filtered.peek() ? match() : null,
  };
}

const begin = (operation, more = {}) =>
  deed(`dataset ${operation}`, async () => {
    try {
      const heard = store.heard.peek();
      const { job } = await call(operation, { ...options(), ...more });
      if (heard === store.heard.peek()) store.job.value = job; // else the stream tells: the job may be over by now
    } catch (error) {
      error.field =
        { output_dir: 'set_output_dir', filename_template: 'stem_template', price_per_call: 'report_price' }[
          error.field
        ] ?? error.field; // the side has fields of these names
      throw error;
    }
  });

export const check = () => begin('preflight');
export const exportSet = () => begin('export_set');
export const writeReport = () =>
  begin('set_report', { path: store.setForm.peek().report || defaultReport(), price_per_call: reportPrice() });

function reportPrice() {
  const entered = store.setForm.peek().report_price;
  return entered === '' ? null : Number(entered);
}

export const stopJob = () => deed('dataset stop', () => call('stop_job'));

/** Where a report goes that nobody named. */
export function defaultReport() {
  const folder = store.setForm.value.output_dir || store.outputDir.value;
  return folder ? `${folder.replace(/[\\/]+$/, '')}/${store.setForm.value.name || 'set'}-report.html` : '';
}

/** Shows the findings of the chosen kind; an answer that comes after another kind was chosen is left aside. */
export async function loadFindings() {
  const kind = store.findingKind.peek();
  const found = await call('list_findings', { kind, limit: SHOWN });
  if (kind !== store.findingKind.peek()) return;
  store.findings.value = found;
  store.foundTasks.value = store.findings.peek().at ? store.findings.peek().tasks : null;
}

/** How many tasks the list shows for each kind of finding. */
export const loadFound = () =>
  deed('dataset found', async () => {
    const { at, tasks } = await call('list_findings', { limit: 0 });
    store.foundTasks.value = at ? tasks : null;
  });

/** Kinds to choose from in the list, `any` first: those that were found, and those that are chosen already. */
export function foundKinds(found, chosen) {
  const kinds = [...new Set([...Object.keys(found ?? {}), ...chosen])].filter((one) => one !== 'any');
  const some = kinds.length > 0 && (found?.any > 0 || chosen.includes('any'));
  return [
    ...(some ? ['any'] : []),
    ...kinds.sort((a, b) => (found?.[b] ?? 0) - (found?.[a] ?? 0) || a.localeCompare(b)),
  ];
}

/** Shows the pairs with this finding, or with any, in the list. */
export function showInList(kind) {
  closeDataset();
  return setFilter({ status: [], only: [], finding: [kind || 'any'], q: '' });
}

export function showKind(kind) {
  store.findingKind.value = kind;
  return loadFindings().catch(toastError);
}

/** Unticks the results of these findings, so that neither a set nor a save takes them. */
export const untick = (findings) =>
  deed('dataset untick', async () => {
    let count = 0;
    for (const one of new Map(findings.map((finding) => [finding.result_id, finding])).values()) {
      const { task } = await call('get_task', { task_id: one.task_id });
      if (!task.results.find((result) => result.id === one.result_id)?.selected) continue;
      await call('toggle_result', { task_id: one.task_id, result_id: one.result_id });
      count += 1;
    }
    toast(t('dataset.unticked', { count }));
  });

/** Tells the end of a job once, wherever it was begun. */
export function startJobs() {
  const ended = (job) => (job && job.status !== 'running' ? job.id : null);
  let told = ended(store.job.peek());
  effect(() => {
    const job = store.job.value;
    if (!job) told = null; // the program was started anew
    if (!ended(job) || told === job.id) return;
    told = job.id;
    finished(job);
  });
}

function finished(job) {
  catchUp(true); // the list shows what was found
  if (store.datasetOpen.peek())
    loadFindings().catch(toastError); // the drawer tells how it ended
  else if (job.status === 'failed') toastError({ ...job.error, message: problemText(job.error) });
  else if (job.status === 'done' && job.kind === 'preflight') toast(t('dataset.checked', job.result));
  else toast(t(`dataset.job.${job.status}`));
}
