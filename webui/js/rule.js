// Owns the save rule as edited: built-in rules, the example names it gives, remembering it.
import { effect } from '@preact/signals';
import { batch } from '@preact/signals';
import { call, storing } from './api.js';
import { setFieldError } from './settings.js';
import * as store from './store.js';

const AFTER = 350; // ms
const EXAMPLES = 4;
const FIELDS = ['filename_template', 'replace_from', 'replace_to', 'create_txt', 'txt_template', 'only_first_if_multiple', 'only_selected'];

/** Takes the answer of `list_save_rules`; the remembered rule is the present one, else the first. */
export function startRule({ rules, variables, txt_variables: more }, remembered) {
  batch(() => {
    store.saveRules.value = rules;
    store.templateVariables.value = { name: variables, text: more };
    const { output_dir: folder, ...rule } = remembered ?? {};
    if (folder && !store.outputDir.peek()) store.outputDir.value = folder;
    if (rule.filename_template !== undefined) store.rule.value = pick(rule);
    else if (rules.length) store.rule.value = pick(rules[0].rule);
    store.ruleId.value = matching(store.rule.peek());
  });
  watch();
}

const pick = (rule) => Object.fromEntries(FIELDS.map((name) => [name, rule[name]]));

function matching(rule) {
  const same = store.saveRules.peek().find((one) => FIELDS.every((name) => one.rule[name] === rule[name]));
  return same?.id ?? '';
}

/** Takes a built-in rule. */
export function chooseRule(id) {
  const found = store.saveRules.peek().find((one) => one.id === id);
  if (!found) return;
  batch(() => {
    store.rule.value = pick(found.rule);
    store.ruleId.value = id;
    for (const name of FIELDS) setFieldError(name, '');
  });
}

/** Changes one entry of the rule. */
export function enterRule(name, value) {
  store.rule.value = { ...store.rule.peek(), [name]: value };
  store.ruleId.value = matching(store.rule.peek());
}

function watch() {
  let timer = 0;
  let first = true;
  effect(() => {
    const rule = store.rule.value;
    const folder = store.outputDir.value;
    void (store.inspection.value?.path ?? store.taskCount.value); // other pictures give other examples
    clearTimeout(timer);
    const keep = !first;
    first = false;
    timer = setTimeout(() => look(rule, folder, keep), AFTER);
  });
}

const keepRule = storing('save_rule');
let turn = 0;

async function look(rule, folder, keep) {
  const mine = (turn += 1);
  const inspected = store.inspection.peek()?.path;
  try {
    const { names } = await call('preview_names', { ...rule, limit: EXAMPLES, ...(inspected ? { input_path: inspected } : {}) });
    if (mine !== turn) return;
    store.nameExamples.value = names;
    for (const name of FIELDS) setFieldError(name, '');
    if (keep) await keepRule({ ...rule, output_dir: folder });
  } catch (error) {
    if (mine === turn && error.field && FIELDS.includes(error.field)) {
      store.nameExamples.value = [];
      setFieldError(error.field, error.message);
    }
  }
}
