// Owns the making of training sets: the jobs that check, export and report, and what the last check found.
import { computed, effect } from '@preact/signals';
import { call } from './api.js';
import { deed } from './deed.js';
import { untickResults } from './decide.js';
import { readForm } from './form.js';
import { problemText, t } from './i18n.js';
import { JUDGE_JOBS, judgeJobEnded } from './judging.js';
import { catchUp, match, setFilter } from './list.js';
import { toast, toastError } from './notices.js';
import { projectJobEnded } from './projects.js';
import * as store from './store.js';

const SHOWN = 200; // findings asked for at once

/** Asks once what there is to choose from, and for what was found. */
export const openSets = () =>
  deed('sets', async () => {
    store.setChoices.value ??= await call('list_trainers');
    await loadFindings();
  });

/** Goes to the sets and begins a check. */
export async function openAndCheck() {
  store.place.value = 'set';
  await openSets();
  if (store.job.peek()?.status !== 'running') await check();
}

export function enterThreshold(name, text) {
  const { [name]: _, ...others } = store.thresholds.peek();
  store.thresholds.value = text === '' ? others : { ...others, [name]: Number(text) };
}

/** Takes pairs with this kind of finding all the same, or no longer. */
export function allowKind(kind, allowed) {
  const others = store.allow.peek().filter((one) => one !== kind);
  store.allow.value = allowed ? [...others, kind] : others;
}

/** Folder for sets: the one entered, else the one for saving. */
export const setFolder = () => store.forms.set.value.output_dir || store.forms.rule.value.output_dir;

/** Where a report goes that nobody named. */
export function defaultReport() {
  const folder = setFolder();
  return folder ? `${folder.replace(/[\\/]+$/, '')}/${store.forms.set.value.name || 'set'}-report.html` : '';
}

const begin = (operation) =>
  deed(
    `set ${operation}`,
    async () => {
      const form = readForm('set');
      if (!form) return;
      const stands = store.asked.status();
      const { only_filtered: onlyFiltered, ...rest } = form;
      const { job } = await asForm(operation, {
        ...rest,
        output_dir: setFolder(),
        path: form.path || defaultReport(),
        thresholds: store.thresholds.peek(),
        allow: store.allow.peek(),
        match: onlyFiltered && store.filtered.peek() ? match() : null,
      });
      if (stands()) store.job.value = job; // else the stream tells: the job may be over by now
    },
    ['set'],
  );

/** Names in a set are checked as those of saved files are, and refused under that name. */
async function asForm(operation, params) {
  try {
    return await call(operation, params);
  } catch (error) {
    if (error.field === 'filename_template') error.field = 'stem_template';
    throw error;
  }
}

export const check = () => begin('preflight');
export const exportSet = () => begin('export_set');
export const writeReport = () => begin('set_report');
export const stopJob = () => deed('stop job', () => call('stop_job'));

/** Shows the findings of the chosen kind. */
export async function loadFindings() {
  const stands = store.asked.findings();
  const found = await call('list_findings', { kind: store.findingKind.peek(), limit: SHOWN });
  if (!stands()) return;
  store.findings.value = found;
  store.foundTasks.value = found.at ? found.tasks : null;
}

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
  store.place.value = 'judge';
  return setFilter({ ...store.NO_FILTER, finding: [kind || 'any'] });
}

export function showKind(kind) {
  store.findingKind.value = kind;
  return loadFindings().catch(toastError);
}

/** Unticks the results of these findings, so that neither a set nor a save takes them; one step. */
export const untick = (findings) =>
  deed('untick', async () => toast(t('dataset.unticked', { count: await untickResults(findings) })));

/** Tells the end of a job once, wherever it was begun, and shows what it found while it goes. */
export function startJobs() {
  const found = computed(() => (store.job.value?.status === 'running' ? store.job.value.found : 0));
  effect(() => {
    if (found.value && store.place.peek() === 'set') loadFindings().catch(toastError);
  });
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
  if (job.kind.startsWith('project_') && job.status === 'done') {
    projectJobEnded(job).catch(toastError);
    return;
  }
  catchUp(true); // the list shows what was found
  loadFindings().catch(toastError);
  if (JUDGE_JOBS.includes(job.kind) && job.status === 'done') {
    judgeJobEnded(job);
    return;
  }
  if (store.place.peek() === 'set') return; // where it is told how the job ended
  if (job.status === 'failed') toastError({ ...job.error, message: problemText(job.error) });
  else if (job.status === 'done' && job.kind === 'preflight') toast(t('dataset.checked', job.result));
  else toast(t(`dataset.job.${job.status}`));
}
