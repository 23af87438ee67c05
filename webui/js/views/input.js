// Owns the input path: typing, choosing, recent ones, what lies there and what a run would cost.
import { chooseFolder } from '../actions.js';
import { call, isWindow } from '../api.js';
import { html, Icon, IconButton } from '../html.js';
import { bytes, money, number, problemText, t } from '../i18n.js';
import { enterPath } from '../inspect.js';
import * as store from '../store.js';
import { errorProps, FieldError } from './field.js';
import { PlanPart, Preview } from './plan.js';

/** A path control with a button that chooses a folder, and recent paths to pick from. */
export function PathField({ name, label, value, onInput, recent, choose, children }) {
  return html`<div class="field">
    <label for=${`field-${name}`}>${label}</label>
    <span class="path-row">
      <input id=${`field-${name}`} type="text" list=${`recent-${name}`} value=${value} spellcheck="false" autocomplete="off" dir="auto" ...${errorProps(name)} onInput=${(event) => onInput(event.currentTarget.value)} />
      <${IconButton} icon="folder-open" label=${t('page.choose')} onClick=${choose} />${children}
    </span>
    <datalist id=${`recent-${name}`}>${recent.map((path) => html`<option key=${path} value=${path} />`)}</datalist>
    <p class="help" id=${`help-${name}`} hidden></p><${FieldError} name=${name} />
  </div>`;
}

function Unreadable({ found }) {
  const count = found.unreadable_count ?? found.unreadable?.length ?? 0;
  if (!count) return null;
  return html`<details class="unreadable"><summary>${t('page.input.unreadable', { count })}</summary>
    <ul>${found.unreadable.map((one) => html`<li key=${one.path}><bdi>${one.path}</bdi><br /><span class="muted">${problemText(one)}</span></li>`)}
    ${count > found.unreadable.length && html`<li class="muted">${t('page.andMore', { count: count - found.unreadable.length })}</li>`}</ul></details>`;
}

function Cost({ calls, reused }) {
  const price = Number(store.form.value.price_per_call) || 0;
  const results = Number(store.form.value.result_count) || 1;
  return html`<p class="cost">${t('page.input.calls', { count: calls })}${results > 1 && html` · ${t('page.input.each', { count: results })}`}${price > 0 && html` · ${t('page.input.price', { price: money(price * calls) })}`}${reused > 0 && html`<br />${t('page.input.reused', { count: reused })}`}</p>`;
}

function Found() {
  const found = store.inspection.value;
  if (!found) return null;
  if (found.busy) return html`<p class="note"><${Icon} name="loader" class="turning" />${t('page.input.looking')}${store.lookedAt.value ? ` ${t('page.input.lookedAt', { count: store.lookedAt.value })}` : ''}</p>`;
  const formats = Object.entries(found.formats ?? {}).map(([format, count]) => `${format.toUpperCase()} ${number(count)}`).join(', ');
  return html`<div class="found" role="status">
    <p><${Icon} name="image" /><b>${t('page.input.pictures', { count: found.count })}</b>, ${bytes(found.total_bytes)}</p>
    <p class="muted">${formats}${found.largest ? ` · ${t('page.input.largest', { size: bytes(found.largest) })}` : ''}</p>
    <${Unreadable} found=${found} /><${Preview} found=${found} /><${Cost} calls=${found.calls ?? found.count} reused=${found.reused ?? 0} />
  </div>`;
}

export function InputPart() {
  const choose = async () => {
    const path = await chooseFolder(store.inputPath.peek());
    if (path) enterPath(path, { now: true });
  };
  const chooseFile = async () => {
    const answer = await call('pick_file', {});
    const path = typeof answer === 'string' ? answer : answer?.path;
    if (path) enterPath(path, { now: true });
  };
  return html`<${PathField} name="input_path" label=${t('page.input.path')} value=${store.inputPath.value} onInput=${(path) => enterPath(path)} recent=${store.recentPaths.value} choose=${choose}>
      ${isWindow() && html`<${IconButton} icon="image" label=${t('page.chooseFile')} onClick=${chooseFile} />`}
    <//><${Found} /><${PlanPart} />`;
}
