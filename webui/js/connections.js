// Owns the connection to a service: presets and starting points, the test, one picture that is really sent.
import { call, exportUrl, knows } from './api.js';
import { deed } from './deed.js';
import { refresh } from './events.js';
import { enter, fillSettings, isDirty, readSettings, showRefusal } from './form.js';
import { t } from './i18n.js';
import { planParams } from './inspect.js';
import { fresh, readAgain } from './list.js';
import { ask, askText, toast } from './notices.js';
import * as store from './store.js';

const LOOK_AGAIN = 400; // ms
const FORMS = ['config', 'plan'];
const LENT = ['api_url', 'api_key', 'model_name', 'proxy', 'unlock_local_api_url'];

/** Stores what is entered, and says so. */
export const saveSettings = () =>
  deed(
    'save_config',
    async () => {
      const config = readSettings();
      if (!config) return;
      await call('save_config', { config });
      await refresh();
      fillSettings();
      toast(t('page.config.saved'));
    },
    FORMS,
  );

/** Asks the service without spending an edit. */
export const testConnection = () =>
  deed(
    'test',
    async () => {
      const config = readSettings();
      if (!config) return;
      store.testResult.value = null;
      try {
        store.testResult.value = {
          ...(await call('test_config', { config })),
          url: config.api_url,
          at: Date.now() / 1000,
        };
      } catch (error) {
        if (!showRefusal(error, FORMS)) store.testResult.value = { reachable: false, problem: error };
      }
    },
    FORMS,
  );

/** Reads again how far the one picture is: tasks of trials are in no event. */
async function follow(task) {
  await readAgain(task);
  const busy = ['pending', 'processing'].includes(store.taskSignal(task)?.peek().status);
  if (busy && store.probe.peek()?.task === task) setTimeout(() => follow(task), LOOK_AGAIN);
}

export const canProbe = () => knows('start_trial');

/** Really sends one picture, as a trial of its own, and opens its log; the answer is kept and not paid again. */
export const probe = () =>
  deed(
    'probe',
    async () => {
      const { input_path: path } = planParams();
      const config = readSettings({ needed: ['api_url', 'model_name', 'user_prompt'] });
      if (!config) return;
      const before = store.probe.peek()?.trial;
      if (before) await call('delete_trial', { id: before }).catch(() => undefined); // it may be gone already
      await call('save_config', { config });
      await refresh();
      fillSettings();
      const columns = [{ name: '1', user_prompt: config.user_prompt }];
      const params = { input_path: path, sample: 1, seed: Math.trunc(Math.random() * 1e6), columns };
      const { trial_id: trial } = await call('start_trial', params);
      const [task] = (await call('get_trial', { id: trial })).rows[0].cells;
      await fresh(task);
      store.probe.value = { trial, task };
      store.debugTask.value = task;
      follow(task);
    },
    FORMS,
  );

/** Does a deed on presets once those before it are done: each asks for something else, so none may be dropped. */
function presetDeed(work) {
  const done = store.memory.presetTurn.then(() => deed('preset', work, FORMS));
  store.memory.presetTurn = done.catch(() => undefined); // what went wrong is told by `done`
  return done;
}

function undoFilling(form, before) {
  return {
    label: t('page.undo'),
    run: () => {
      store.forms[form].value = before;
    },
  };
}

/** Fills the judge's form with what a connection for edits and it have in common. */
function lendToJudge(config) {
  const before = store.forms.judge.peek();
  const lent = Object.fromEntries(LENT.map((name) => [name, config[name] ?? '']));
  fillSettings({ ...store.judge.peek(), ...lent }, 'judge');
  return before;
}

/** Takes a preset as the current configuration, or as the judge's; what the form held can be brought back. */
export const applyPreset = (name) =>
  presetDeed(async () => {
    if (store.role.peek() === 'judge') {
      const before = lendToJudge(store.presets.peek()[name]);
      toast(t('page.preset.filled', { name }), { action: undoFilling('judge', before) });
      return;
    }
    const before = isDirty() ? store.forms.config.peek() : null;
    await call('apply_preset', { name });
    await refresh();
    fillSettings();
    store.presetName.value = name;
    store.service.value = '';
    store.testResult.value = null;
    toast(t('page.preset.applied', { name }), { action: before && undoFilling('config', before) });
  });

/** Fills the form from a starting point; key and prompt stay as they are. */
export function applyTemplate(template) {
  const form = store.role.peek();
  const before = form === 'judge' ? lendToJudge(template.config) : store.forms.config.peek();
  if (form === 'config') {
    fillSettings({ ...template.config, user_prompt: before.user_prompt, system_prompt: before.system_prompt });
    enter('config', 'api_key', template.config.api_key ?? before.api_key ?? '');
    store.presetName.value = '';
    store.service.value = template.id;
    store.testResult.value = null;
  }
  toast(t('page.preset.filled', { name: template.name }), { action: undoFilling(form, before) });
}

async function savePreset(name) {
  const config = readSettings();
  if (!config) return;
  await call('save_preset', { name, config });
  store.presetName.value = name;
  await refresh();
  toast(t('page.preset.saved', { name }));
}

/** Asks for a name and keeps what is entered under it. */
export async function savePresetAs() {
  const label = t('page.preset.name');
  const value = store.presetName.peek();
  const name = await askText({ title: t('page.preset.saveTitle'), label, value, confirm: t('page.preset.save') });
  if (name?.trim()) await presetDeed(() => savePreset(name.trim()));
}

export const deletePreset = (name) =>
  presetDeed(async () => {
    const title = t('page.preset.deleteTitle', { name });
    const lines = [t('page.preset.deleteLoss')];
    if (!(await ask({ title, lines, confirm: t('page.delete.do'), danger: true }))) return;
    await call('delete_preset', { name });
    if (store.presetName.peek() === name) store.presetName.value = '';
    await refresh();
  });

/** Reads a file of presets that the person chose. */
export const importPresets = (file) =>
  presetDeed(async () => {
    let content;
    try {
      content = JSON.parse(await file.text());
    } catch {
      toast(t('page.preset.notJson', { name: file.name }), { kind: 'error' });
      return;
    }
    const answer = await call('import_presets', content);
    await refresh();
    if (answer.applied_current_config) fillSettings();
    toast(t('page.preset.imported', { count: answer.imported_presets }));
  });

/** Downloads all presets; keys stay here. */
export function exportPresets() {
  const link = Object.assign(document.createElement('a'), { href: exportUrl(), download: 'presets.json' });
  document.body.append(link);
  link.click();
  link.remove();
}
