// Owns the settings side: presets first, then what changes often, the rest folded.
import { html, Icon } from '../html.js';
import { saveConfig, testConfig } from '../actions.js';
import { problemText, t } from '../i18n.js';
import { fillForm, isDirty } from '../settings.js';
import * as store from '../store.js';
import { Field, Fold } from './field.js';
import { InputPart } from './input.js';
import { Presets } from './presets.js';
import { SavingPart } from './saving.js';

function Group({ name }) {
  return html`<div class=${`fields ${name}`}>${store.schema.value.filter((spec) => spec.group === name).map((spec) => html`<${Field} key=${spec.name} spec=${spec} />`)}</div>`;
}

function TestResult() {
  const result = store.testResult.value;
  if (store.busy.value.has('test')) return html`<p class="note"><${Icon} name="loader" class="turning" />${t('page.test.busy')}</p>`;
  if (!result) return null;
  const good = result.reachable;
  const text = good ? t('page.test.good', { status: String(result.http_status ?? '–') }) : problemText(result.problem);
  return html`<p class=${`note ${good ? 'good' : 'bad'}`} role="status"><${Icon} name=${good ? 'plug-zap' : 'plug'} /><span dir="auto">${text}</span></p>`;
}

function FormDeeds() {
  const dirty = isDirty();
  return html`<div class="form-deeds">
    <button type="button" class="button" onClick=${testConfig} disabled=${store.busy.value.has('test')}><${Icon} name="plug" />${t('page.test')}</button>
    ${dirty && html`<button type="button" class="button" onClick=${saveConfig}>${t('page.config.save')}</button>
      <button type="button" class="button plain" onClick=${() => fillForm(store.config.peek())}>${t('page.config.discard')}</button>`}
    <${TestResult} />
    ${dirty && html`<p class="note">${t('page.config.dirty')}</p>`}
  </div>`;
}

export function Side() {
  const groups = [...new Set(store.schema.value.map((spec) => spec.group))].filter((name) => name !== 'often');
  return html`<aside class=${`side ${store.taskCount.value ? 'terse' : ''}`} aria-label=${t('page.settings')}>
    <${Presets} />
    <${Fold} name="input" title=${t('page.part.input')}><${InputPart} /><//>
    <${Fold} name="often" title=${t('config.group.often')} note=${isDirty() ? t('page.config.changed') : ''}><${Group} name="often" /><${FormDeeds} /><//>
    ${groups.map((name) => html`<${Fold} key=${name} name=${name} open=${false} title=${t(`config.group.${name}`)}><${Group} name=${name} /><//>`)}
    <${Fold} name="saving" title=${t('page.part.saving')}><${SavingPart} /><//>
  </aside>`;
}
