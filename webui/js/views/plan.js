// Owns how tasks are made of the pictures: prompts from a table, variants, further source pictures; with the first rows.
import { call, isWindow } from '../api.js';
import { html, IconButton } from '../html.js';
import { t } from '../i18n.js';
import { enterPlan } from '../inspect.js';
import * as store from '../store.js';
import { errorProps, FieldError } from './field.js';

const REFERENCES = ['off', 'suffix', 'folders'];

function Table() {
  const choose = async () => {
    const path = await call('pick_file', {});
    if (path) enterPlan('prompt_table', path);
  };
  return html`<div class="field"><label for="field-prompt_table">${t('page.plan.prompt_table')}</label>
    <span class="path-row"><input id="field-prompt_table" type="text" spellcheck="false" autocomplete="off" dir="auto" value=${store.plan.value.prompt_table} ...${errorProps('prompt_table')}
      onInput=${(event) => enterPlan('prompt_table', event.currentTarget.value)} />${isWindow() && html`<${IconButton} icon="file-text" label=${t('page.plan.chooseTable')} onClick=${choose} />`}</span>
    <p class="help" id="help-prompt_table">${t('page.plan.tableHelp')}</p><${FieldError} name="prompt_table" /></div>`;
}

/** Folded: who sends each picture once with one prompt needs nothing of it. */
export function PlanPart() {
  const plan = store.plan.value;
  const used = plan.prompt_table || plan.references !== 'off' || plan.fresh || Number(plan.variants) !== 1;
  return html`<details class="plan" open=${used}><summary>${t('page.plan')}</summary>
    <${Table} />
    <div class="pair"><div class="field"><label for="field-variants">${t('page.plan.variants')}</label>
      <input id="field-variants" type="number" min="1" max="20" step="1" value=${plan.variants} ...${errorProps('variants')} onInput=${(event) => enterPlan('variants', event.currentTarget.value)} />
      <p class="help" id="help-variants" hidden></p><${FieldError} name="variants" /></div>
    <div class="field"><label for="field-references">${t('page.plan.references')}</label>
      <select id="field-references" value=${plan.references} ...${errorProps('references')} onChange=${(event) => enterPlan('references', event.currentTarget.value)}>
        ${REFERENCES.map((one) => html`<option key=${one} value=${one} selected=${one === plan.references}>${t(`page.references.${one}`)}</option>`)}</select>
      <p class="help" id="help-references" hidden></p><${FieldError} name="references" /></div></div>
    <div class="field check"><label><input type="checkbox" id="field-fresh" checked=${plan.fresh} onChange=${(event) => enterPlan('fresh', event.currentTarget.checked)} /> ${t('page.plan.fresh')}</label></div>
  </details>`;
}

function Lonely({ names, count, text }) {
  if (!count) return null;
  return html`<details class="unreadable"><summary>${t(text, { count })}</summary><ul>${names.map((name) => html`<li key=${name}><bdi>${name}</bdi></li>`)}
    ${count > names.length && html`<li class="muted">${t('page.andMore', { count: count - names.length })}</li>`}</ul></details>`;
}

/** The first tasks with their prompts as they will be sent, and what found no partner in the table. */
export function Preview({ found }) {
  const rows = found.prompts ?? [];
  if (!rows.length) return null;
  return html`<${Lonely} names=${found.rows_without_file} count=${found.rows_without_file_count} text="page.plan.rowsWithoutFile" />
    <${Lonely} names=${found.files_without_row} count=${found.files_without_row_count} text="page.plan.filesWithoutRow" />
    <details class="first-tasks"><summary>${t('page.plan.first', { count: found.tasks })}</summary>
      <div class="first-tasks-box" tabindex="0" role="region" aria-label=${t('page.plan.first', { count: found.tasks })}><table><thead><tr><th scope="col">${t('page.part.input')}</th><th scope="col">${t('page.plan.prompt')}</th></tr></thead>
      <tbody>${rows.map((row, at) => html`<tr key=${at}><td><bdi>${row.source}</bdi>${row.references.map((one) => html`<br /><bdi class="muted" key=${one}>+ ${one}</bdi>`)}</td>
        <td dir="auto">${row.prompt || '–'}${row.reused && html` <span class="muted">(${t('page.plan.known')})</span>`}</td></tr>`)}</tbody></table></div></details>`;
}
