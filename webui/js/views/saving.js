// Owns the save rules: where to, under which names, with which text file; with live examples.
import { chooseFolder } from '../actions.js';
import { html, Icon } from '../html.js';
import { has, t } from '../i18n.js';
import { chooseRule, enterRule } from '../rule.js';
import { setFieldError } from '../settings.js';
import * as store from '../store.js';
import { errorProps, FieldError } from './field.js';
import { PathField } from './input.js';

function Text({ name, area = false }) {
  const id = `field-${name}`;
  const shared = { id, value: store.rule.value[name] ?? '', spellcheck: false, dir: 'auto', onInput: (event) => enterRule(name, event.currentTarget.value), ...errorProps(name) };
  return html`<div class="field"><label for=${id}>${t(`page.save.${name}`)}</label>
    ${area ? html`<textarea rows="2" class="mono" ...${shared}></textarea>` : html`<input type="text" class="mono" ...${shared} />`}
    <p class="help" id=${`help-${name}`} hidden></p><${FieldError} name=${name} /></div>`;
}

function Check({ name }) {
  return html`<div class="field check"><label><input type="checkbox" id=${`field-${name}`} checked=${store.rule.value[name] === true}
    onChange=${(event) => enterRule(name, event.currentTarget.checked)} /> ${t(`page.save.${name}`)}</label></div>`;
}

function Variables() {
  const { name, text } = store.templateVariables.value;
  const rows = (list) => list.map((one) => html`<tr key=${one}><td><code>{${one}}</code></td><td>${t(`page.variable.${one}`)}</td></tr>`);
  return html`<details class="variables"><summary>${t('page.save.variables')}</summary>
    <table><caption class="for-readers">${t('page.save.variables')}</caption><tbody>${rows(name)}</tbody></table>
    <p class="muted">${t('page.save.textOnly')}</p><table><caption class="for-readers">${t('page.save.textOnly')}</caption><tbody>${rows(text)}</tbody></table></details>`;
}

function Examples() {
  const names = store.nameExamples.value;
  if (!names.length) return null;
  return html`<div class="examples" role="status"><p class="muted">${t('page.save.examples')}</p>
    <ul>${names.map((one, at) => html`<li key=${at}><bdi class="from">${one.source}</bdi><${Icon} name="arrow-right" size=${12} /><bdi>${one.image}</bdi>${one.txt && html` <span class="muted">+ <bdi>${one.txt}</bdi></span>`}</li>`)}</ul></div>`;
}

const ruleLabel = (id) => (has(`page.rule.${id}`) ? t(`page.rule.${id}`) : id);

export function SavingPart() {
  const choose = async () => {
    const path = await chooseFolder(store.outputDir.peek());
    if (!path) return;
    store.outputDir.value = path;
    setFieldError('output_dir', '');
  };
  const typed = (path) => {
    store.outputDir.value = path;
    setFieldError('output_dir', '');
  };
  return html`
    <${PathField} name="output_dir" label=${t('page.save.output')} value=${store.outputDir.value} onInput=${typed} recent=${store.recentOutputs.value} choose=${choose} />
    <div class="field"><label for="field-rule">${t('page.save.rule')}</label>
      <select id="field-rule" value=${store.ruleId.value} onChange=${(event) => chooseRule(event.currentTarget.value)}>
        <option value="" selected=${store.ruleId.value === ''} disabled>${t('page.rule.own')}</option>
        ${store.saveRules.value.map((one) => html`<option key=${one.id} value=${one.id} selected=${one.id === store.ruleId.value}>${ruleLabel(one.id)}</option>`)}
      </select></div>
    <${Text} name="filename_template" />
    <div class="pair"><${Text} name="replace_from" /><${Text} name="replace_to" /></div>
    <${Check} name="create_txt" />
    ${store.rule.value.create_txt && html`<${Text} name="txt_template" area />`}
    <${Check} name="only_selected" /><${Check} name="only_first_if_multiple" />
    <${Examples} /><${Variables} />`;
}
