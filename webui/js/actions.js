// Owns what the person can make the program do: run, stop, retry, save, presets; errors go where they belong.
import { call, EXPORT_URL, isWindow } from './api.js';
import { refresh } from './events.js';
import { money, t } from './i18n.js';
import { clearSelection, match } from './list.js';
import { lossLines, target } from './decide.js';
import { announce, ask, openDialog, toast, toastError } from './notices.js';
import { inspect, planParams } from './inspect.js';
import { enter, fillForm, formConfig, isDirty, pushRecent, setFieldError, showFieldError } from './settings.js';
import * as store from './store.js';
import { forgetSteps } from './undo.js';

/** Does a deed once at a time under a name that controls can show as busy; failures become notices or field errors. */
export async function deed(name, work) {
  if (store.busy.peek().has(name)) return undefined;
  store.busy.value = new Set(store.busy.peek()).add(name);
  try {
    return await work();
  } catch (error) {
    if (error.code === undefined) throw error;
    if (!showFieldError(error)) toastError(error);
    return undefined;
  } finally {
    const left = new Set(store.busy.peek());
    left.delete(name);
    store.busy.value = left;
  }
}

/* ---- input ---- */

/** Lets the person choose a folder: the native dialog in the window, ours in a browser. */
export async function chooseFolder(start) {
  if (!isWindow()) return openDialog('folders', { start });
  const answer = await call('pick_folder', { path: start });
  return typeof answer === 'string' ? answer : (answer?.path ?? null);
}

/* ---- the run ---- */

/** Starts a batch from the form; what was answered before under the same settings is not sent again. */
export function start() {
  return deed('start', async () => {
    const config = formConfig();
    const path = store.inputPath.peek().trim();
    if (!path) {
      setFieldError('input_path', t('page.input.required'));
      showFieldError({ field: 'input_path', message: t('page.input.required') });
      return;
    }
    if (!config) return;
    const answer = await call('start_batch', { input_path: path, config, ...planParams() });
    pushRecent(store.recentPaths, path);
    await refresh();
    fillForm(store.config.peek());
    store.plan.value = { ...store.plan.peek(), fresh: false };
    inspect();
    if (answer.reused_count) toast(t('page.run.reused', { count: answer.reused_count, fresh: answer.new_count }));
    if (answer.unreadable_count) toast(t('page.run.leftOut', { count: answer.unreadable_count }));
    announce(t('page.run.started', { count: answer.new_count ?? answer.task_count }));
  });
}

export const stop = () => deed('stop', async () => {
  await call('stop');
  announce(t('page.run.stopping'));
});

export const resume = () => deed('resume', async () => {
  const { resumed_count: count } = await call('resume_tasks');
  toast(t('page.run.resumed', { count }));
});

/** Asks before calls that are billed again. */
function askCalls(count, more = []) {
  const price = Number(store.config.peek().price_per_call) || 0;
  const lines = [t('page.retry.callsAgain', { count })];
  if (price) lines.push(t('page.retry.price', { price: money(price * count) }));
  return ask({ title: t('page.retry.title', { count }), lines: [...lines, ...more], confirm: t('page.retry.do') });
}

export const retryFailed = () => deed('retry_failed', async () => {
  if (!(await askCalls(store.progress.peek().failed))) return;
  const { retried_count: count } = await call('retry_failed');
  toast(t('page.retry.started', { count }));
});

/** Sends one picture again; `clear` drops its earlier results first. */
export const retry = (task, clear = false) => deed(`retry ${task.id}`, async () => {
  const loss = clear && task.results.length ? [t('page.retry.clearLoss', { count: task.results.length })] : [];
  if (!(await askCalls(1, loss))) return;
  await call(clear ? 'retry_task_clear' : 'retry_task', { task_id: task.id });
  announce(t('page.retry.started', { count: 1 }));
});

/** Sends everything selected again. */
export const bulkRetry = (clear = false) => deed('bulk_retry', async () => {
  const count = store.selectionCount.peek();
  if (!(await askCalls(count, clear ? [t('page.delete.allResults')] : []))) return;
  const { affected } = await call('bulk_tasks', { action: clear ? 'retry_clear' : 'retry', ...target() });
  toast(t('page.retry.started', { count: affected }));
});

/** Deletes a task for good, after asking. */
export const deleteTask = (task) => deed(`delete ${task.id}`, async () => {
  const lines = lossLines({ results: task.results.length });
  if (!(await ask({ title: t('page.delete.oneTitle', { name: task.source_name }), lines, confirm: t('page.delete.do'), danger: true }))) return;
  await call('delete_task', { task_id: task.id });
});

/** Empties the list, after asking. */
export const clearTasks = () => deed('clear', async () => {
  const { done, partial_success: partly, total } = store.progress.peek();
  const lines = [t('page.clear.tasks', { count: total })];
  if (done + partly) lines.push(t('page.clear.results', { count: done + partly }));
  lines.push(t('page.delete.sourceStays'), t('page.clear.savedStay'));
  if (!(await ask({ title: t('page.clear.title'), lines, confirm: t('page.clear.do'), danger: true }))) return;
  await call('clear_tasks');
  forgetSteps();
  clearSelection();
});

/* ---- saving ---- */

function savingParams() {
  const { filename_template, replace_from, replace_to, create_txt, txt_template } = store.rule.peek();
  return { output_dir: store.outputDir.peek().trim(), filename_template, replace_from, replace_to, create_txt, txt_template };
}

function outputGiven() {
  if (store.outputDir.peek().trim()) return true;
  showFieldError({ field: 'output_dir', message: t('page.save.outputRequired') });
  return false;
}

/** Saves one result under the present rule. */
export const saveResult = (task, result) => deed(`save ${result.id}`, async () => {
  if (!outputGiven()) return;
  const answer = await call('save_result', { task_id: task.id, result_id: result.id, ...savingParams() });
  pushRecent(store.recentOutputs, savingParams().output_dir);
  const action = isWindow() ? { label: t('page.reveal'), run: () => reveal({ path: answer.saved_image }) } : null;
  toast(t('page.save.savedAs', { path: answer.saved_image }), { action });
});

/** Saves the results of everything, of the filter, or of what is selected. */
export const saveAll = (where = {}) => deed('save_all', async () => {
  if (!outputGiven()) return;
  const { only_selected, only_first_if_multiple } = store.rule.peek();
  const answer = await call('save_all', { ...savingParams(), only_selected, only_first_if_multiple, ...where });
  pushRecent(store.recentOutputs, savingParams().output_dir);
  if (answer.error_count) openDialog('saveErrors', { answer });
  else toast(answer.saved_count ? t('page.save.saved', { count: answer.saved_count }) : t('page.save.nothing'));
});

export const saveSelected = () => saveAll(target());
export const saveFiltered = () => saveAll({ match: match() });

/** Shows a file in its folder; window only. */
export const reveal = (where) => deed('reveal', () => call('reveal', where));

/* ---- settings and presets ---- */

export const saveConfig = () => deed('save_config', async () => {
  const config = formConfig();
  if (!config) return;
  await call('save_config', { config });
  await refresh();
  fillForm(store.config.peek());
  toast(t('page.config.saved'));
});

export const testConfig = () => deed('test', async () => {
  const config = formConfig();
  if (!config) return;
  store.testResult.value = null;
  try {
    store.testResult.value = await call('test_config', { config });
  } catch (error) {
    if (!showFieldError(error)) store.testResult.value = { reachable: false, problem: error };
  }
});

let presetTurn = Promise.resolve();

/** Does a deed on presets once those before it are done: each asks for something else, so none may be dropped. */
function presetDeed(work) {
  const done = presetTurn.then(() => deed('preset', work));
  presetTurn = done.catch(() => {}); // what went wrong is told by `done`
  return done;
}

/** Takes a preset as the current configuration; what the form held can be brought back. */
export const applyPreset = (name) => presetDeed(async () => {
  const before = isDirty() ? store.form.peek() : null;
  await call('apply_preset', { name });
  await refresh();
  fillForm(store.config.peek());
  store.presetName.value = name;
  store.testResult.value = null;
  const action = before && { label: t('page.undo'), run: () => { store.form.value = before; } };
  toast(t('page.preset.applied', { name }), { action });
});

/** Fills the form from a starting point; the key stays as it is. */
export function applyTemplate(template) {
  const before = store.form.peek();
  fillForm({ ...store.config.peek(), ...template.config });
  enter('api_key', template.config.api_key ?? before.api_key ?? '');
  store.presetName.value = '';
  toast(t('page.preset.filled', { name: template.name }), { action: { label: t('page.undo'), run: () => { store.form.value = before; } } });
}

export const savePreset = (name) => presetDeed(async () => {
  const config = formConfig();
  if (!config) return;
  await call('save_preset', { name, config });
  store.presetName.value = name;
  await refresh();
  toast(t('page.preset.saved', { name }));
});

export const deletePreset = (name) => presetDeed(async () => {
  if (!(await ask({ title: t('page.preset.deleteTitle', { name }), lines: [t('page.preset.deleteLoss')], confirm: t('page.delete.do'), danger: true }))) return;
  await call('delete_preset', { name });
  if (store.presetName.peek() === name) store.presetName.value = '';
  await refresh();
});

/** Reads a file of presets that the person chose. */
export const importPresets = (file) => presetDeed(async () => {
  let content;
  try {
    content = JSON.parse(await file.text());
  } catch {
    toast(t('page.preset.notJson', { name: file.name }), { kind: 'error' });
    return;
  }
  const answer = await call('import_presets', content);
  await refresh();
  if (answer.applied_current_config) fillForm(store.config.peek());
  const count = Array.isArray(answer.imported_presets) ? answer.imported_presets.length : answer.imported_presets;
  toast(t('page.preset.imported', { count }));
});

export { EXPORT_URL };
