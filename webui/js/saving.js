// Owns saving: the naming rule as edited with the names that it gives, and the saving of results under it.
import { batch, effect } from '@preact/signals';
import { call, isWindow, storing } from './api.js';
import { deed, pushRecent } from './deed.js';
import { target } from './decide.js';
import { enter, setError } from './form.js';
import { t } from './i18n.js';
import { match } from './list.js';
import { openDialog, toast } from './notices.js';
import * as store from './store.js';

const AFTER = 350; // ms
const EXAMPLES = 4;
const keepRule = storing('save_rule');

const named = () => Object.keys(store.forms.rule.peek()).filter((name) => name !== 'output_dir');
const pick = (rule) => Object.fromEntries(named().map((name) => [name, rule[name]]));
const output = () => store.forms.rule.peek().output_dir.trim();

/** Takes the answer of `list_save_rules`; the remembered rule is the present one, else the first. */
export function startRule({ rules, variables, txt_variables: more }, remembered) {
  batch(() => {
    store.saveRules.value = rules;
    store.templateVariables.value = { name: variables, text: more };
    const { output_dir: folder, ...rule } = remembered ?? {};
    if (folder && !output()) enter('rule', 'output_dir', folder);
    const taken = rule.filename_template === undefined ? rules[0]?.rule : rule;
    if (taken) store.forms.rule.value = { ...store.forms.rule.peek(), ...pick(taken) };
  });
  watch();
}

/** Takes a built-in rule. */
export function chooseRule(id) {
  const found = store.saveRules.peek().find((one) => one.id === id);
  if (!found) return;
  store.forms.rule.value = { ...store.forms.rule.peek(), ...pick(found.rule) };
  for (const name of named()) setError('rule', name, '');
}

function watch() {
  let timer = 0;
  let first = true;
  effect(() => {
    const { output_dir: folder, ...rule } = store.forms.rule.value;
    void (store.inspection.value?.path ?? store.taskCount.value); // other pictures give other examples
    store.ruleId.value =
      store.saveRules.peek().find((one) => named().every((name) => one.rule[name] === rule[name]))?.id ?? '';
    clearTimeout(timer);
    const keep = !first;
    first = false;
    timer = setTimeout(() => look(rule, folder, keep), AFTER);
  });
}

async function look(rule, folder, keep) {
  const stands = store.asked.names();
  const path = store.inspection.peek()?.path;
  try {
    const { names } = await call('preview_names', { ...rule, limit: EXAMPLES, ...(path ? { input_path: path } : {}) });
    if (!stands()) return;
    store.nameExamples.value = names;
    for (const name of named()) setError('rule', name, '');
    if (keep) await keepRule({ ...rule, output_dir: folder });
  } catch (error) {
    if (!stands() || !named().includes(error.field)) return;
    store.nameExamples.value = [];
    setError('rule', error.field, error.message);
  }
}

/** The folder to save into: the one entered, else one that is asked for here and now; null for none. */
async function folderGiven() {
  if (output()) return output();
  const folder = await openDialog('output', {});
  if (folder?.trim()) enter('rule', 'output_dir', folder.trim());
  return folder?.trim() || null;
}

function params() {
  const { filename_template, replace_from, replace_to, create_txt, txt_template } = store.forms.rule.peek();
  return { output_dir: output(), filename_template, replace_from, replace_to, create_txt, txt_template };
}

/** Saves one result under the present rule. */
export const saveResult = (task, result) =>
  deed(
    `save ${result.id}`,
    async () => {
      if (!(await folderGiven())) return;
      const answer = await call('save_result', { task_id: task.id, result_id: result.id, ...params() });
      pushRecent(store.recentOutputs, output());
      const show = { label: t('page.reveal'), run: () => reveal({ path: answer.saved_image }) };
      toast(t('page.save.savedAs', { path: answer.saved_image }), { action: isWindow() ? show : null });
    },
    ['rule'],
  );

/** Saves the results of everything, of the filter, or of what is selected. */
export const saveAll = (where = {}) =>
  deed(
    'save_all',
    async () => {
      if (!(await folderGiven())) return;
      const { only_selected, only_first_if_multiple } = store.forms.rule.peek();
      const answer = await call('save_all', { ...params(), only_selected, only_first_if_multiple, ...where });
      pushRecent(store.recentOutputs, output());
      if (answer.error_count) openDialog('saveErrors', { answer });
      else toast(answer.saved_count ? t('page.save.saved', { count: answer.saved_count }) : t('page.save.nothing'));
    },
    ['rule'],
  );

export const saveSelected = () => saveAll(target());
export const saveFiltered = () => saveAll({ match: match() });

/** Shows a file in its folder; window only. */
export const reveal = (where) => deed('reveal', () => call('reveal', where));
