// Owns one labelled control with its help and error; the settings form is made of these.
import { html, Icon } from '../html.js';
import { has, t } from '../i18n.js';
import { checkEntry, enter } from '../settings.js';
import * as store from '../store.js';

/** Error text of a control, tied to it by id. */
export function FieldError({ name }) {
  const message = store.fieldErrors.value[name];
  return html`<p class="field-error" id=${`error-${name}`} hidden=${!message}>${message && html`<${Icon} name="circle-alert" size=${14} /><span dir="auto">${message}</span>`}</p>`;
}

/** Attributes that tie a control to its error. */
export function errorProps(name) {
  const wrong = Boolean(store.fieldErrors.value[name]);
  return { 'aria-invalid': wrong ? 'true' : undefined, 'aria-describedby': `help-${name} error-${name}` };
}

function choiceLabel(spec, choice) {
  const key = `config.choice.${spec.name}.${choice}`;
  return has(key) ? t(key) : choice;
}

function Control({ spec, value }) {
  const id = `field-${spec.name}`;
  const typed = (event) => enter(spec.name, event.currentTarget.value);
  const left = () => checkEntry(spec.name);
  const shared = { id, ...errorProps(spec.name) };
  if (spec.type === 'choice') {
    return html`<select ...${shared} value=${value} onChange=${typed}>
      ${spec.choices.map((choice) => html`<option value=${choice} key=${choice} selected=${choice === value}>${choiceLabel(spec, choice)}</option>`)}</select>`;
  }
  if (spec.kind === 'text' || spec.kind === 'json') {
    return html`<textarea ...${shared} rows=${spec.name === 'user_prompt' ? 4 : 3} class=${spec.kind === 'json' ? 'mono' : ''} dir="auto" spellcheck=${spec.kind !== 'json'}
      placeholder=${spec.kind === 'json' ? '{}' : ''} value=${value} onInput=${typed} onBlur=${left}></textarea>`;
  }
  if (spec.type === 'integer' || spec.type === 'number') {
    return html`<input ...${shared} type="number" inputmode="decimal" min=${spec.minimum} max=${spec.maximum} step=${spec.step ?? (spec.type === 'integer' ? 1 : 'any')}
      value=${value} onInput=${typed} onBlur=${left} />`;
  }
  const secret = spec.kind === 'secret';
  return html`<input ...${shared} type=${secret ? 'password' : spec.kind === 'url' ? 'url' : 'text'} autocomplete="off" spellcheck="false"
    placeholder=${secret && store.config.value[spec.name] ? t('page.field.keyKept') : ''} value=${value} onInput=${typed} onBlur=${left} />`;
}

/** A control of the settings form, made from its description. */
export function Field({ spec }) {
  const value = store.form.value[spec.name] ?? '';
  const id = `field-${spec.name}`;
  const help = has(spec.help) ? t(spec.help) : '';
  if (spec.type === 'boolean') {
    return html`<div class="field check"><label><input type="checkbox" id=${id} checked=${value === true} ...${errorProps(spec.name)}
      onChange=${(event) => enter(spec.name, event.currentTarget.checked)} /> ${t(spec.label)}</label>
      <p class="help" id=${`help-${spec.name}`}>${help}</p><${FieldError} name=${spec.name} /></div>`;
  }
  const short = spec.type === 'integer' || spec.type === 'number' || spec.type === 'choice';
  return html`<div class=${`field ${short ? 'short' : ''}`}>
    <label for=${id}>${t(spec.label)}</label><${Control} spec=${spec} value=${value} />
    <p class="help" id=${`help-${spec.name}`}>${help}</p><${FieldError} name=${spec.name} /></div>`;
}

/** A part of the side that folds away and remembers it. */
export function Fold({ name, title, open = true, note = '', children }) {
  const shown = store.folds.value[name] ?? open;
  return html`<section class="fold">
    <h2><button type="button" aria-expanded=${shown} aria-controls=${`fold-${name}`} onClick=${() => { store.folds.value = { ...store.folds.peek(), [name]: !shown }; }}>
      <${Icon} name=${shown ? 'chevron-down' : 'chevron-right'} /><span>${title}</span>${note && html`<span class="fold-note">${note}</span>`}</button></h2>
    <div id=${`fold-${name}`} hidden=${!shown}>${shown && children}</div>
  </section>`;
}
