// Owns the making of training sets: what the person wants of a set, the jobs that make it, and what preflight found.
import { effect } from '@preact/signals';
import { deed } from './actions.js';
import { call } from './api.js';
import { toast, toastError } from './notices.js';
import { problemText, t } from './i18n.js';
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

export function closeDataset() {
  store.datasetOpen.value = false;
}

/** A wish of the form; what was wrong with it is forgotten. */
export function enterSet(name, value) {
  store.setForm.value = { ...store.setForm.peek(), [name]: value };
  const { [name]: _, ...others } = store.fieldErrors.peek();
  store.fieldErrors.value = others;
}

export function enterThreshold(name, text) {
  const { [name]: _, ...others } = store.setForm.peek().thresholds;
  enterSet('thresholds', text === '' ? others : { ...others, [name]: Number(text) });
}

/** The form as the operations take it. */
function wishes() {
  const form = store.setForm.peek();
  return {
    ...form,
    quality: Number(form.quality) || 0,
    size_value: Number(form.size_value) || 0,
    validation: (Number(form.validation) || 0) / 100,
    seed: Number(form.seed) || 0,
    output_dir: form.output_dir || store.outputDir.peek(),
  };
}

const begin = (operation, more = {}) => deed(`dataset ${operation}`, async () => {
  try {
    const { job } = await call(operation, { ...wishes(), ...more });
    store.job.value = job;
  } catch (error) {
    if (error.field === 'output_dir') error.field = 'set_output_dir'; // the side has a field of that name
    throw error;
  }
});

export const check = () => begin('preflight');
export const exportSet = () => begin('export_set');
export const writeReport = () => begin('set_report', { path: store.setForm.peek().report || defaultReport() });
export const stopJob = () => deed('dataset stop', () => call('stop_job'));

/** Where a report goes that nobody named. */
export function defaultReport() {
  const folder = store.setForm.value.output_dir || store.outputDir.value;
  return folder ? `${folder.replace(/[\\/]+$/, '')}/${store.setForm.value.name || 'set'}-report.html` : '';
}

export async function loadFindings() {
  store.findings.value = await call('list_findings', { kind: store.findingKind.peek(), limit: SHOWN });
}

export function showKind(kind) {
  store.findingKind.value = kind;
  return deed('dataset findings', loadFindings);
}

/** Unticks the results of these findings, so that neither a set nor a save takes them. */
export const untick = (findings) => deed('dataset untick', async () => {
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
  let running = null;
  effect(() => {
    const job = store.job.value;
    if (job?.status === 'running') running = job.id;
    else if (job && job.id === running) {
      running = null;
      finished(job);
    }
  });
}

function finished(job) {
  if (store.datasetOpen.peek()) loadFindings().catch(toastError); // the drawer tells how it ended
  else if (job.status === 'failed') toastError({ ...job.error, message: problemText(job.error) });
  else toast(t(`dataset.job.${job.status}`));
}
