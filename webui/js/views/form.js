// Owns the controls of every form: one labelled control for one field of a schema, with help, note and error.
import { isWindow } from '../api.js';
import { onOneLine } from '../clean.js';
import { choosePath } from '../deed.js';
import { enter, faultIn, fieldId, leave, pointAt, rowsOf, specOf } from '../form.js';
import { html, Icon, IconButton } from '../html.js';
import { has, t } from '../i18n.js';
import * as store from '../store.js';

const ROWS = { user_prompt: 4, recipe: 12, text: 3, json: 3, codes: 2 };

/** Error text of a control, tied to it by id. */
function FieldError({ id, message, children }) {
  return html`<p class="field-error" id=${`error-${id}`} hidden=${!message}>
    ${message && html`<${Icon} name="circle-alert" size=${14} /><span dir="auto">${message}${children}</span>`}</p>`;
}

/** The line of a JSON text in which the fault is; marks it there. */
function FaultLine({ form, name, text }) {
  const found = faultIn(text, store.faultPlaces.value[`${form}.${name}`] ?? null);
  if (!found) return null;
  const line = text.slice(0, found[0]).split('\n').length;
  return html` <button type="button" class="link" onClick=${() => pointAt(form, name)}>${t('page.field.line', { line })}
    </button>`;
}

/** Words for a choice: of this field, else the choice itself. */
function choiceLabel(form, spec, choice, texts) {
  const key = [`config.choice.${spec.name}.${choice}`, `page.${spec.name}.${choice}`, `dataset.${spec.name}.${choice}`];
  const found = key.find((one) => (form === 'config' ? one.startsWith('config.') : true) && has(one));
  return texts?.[choice] ?? (found ? t(found) : choice);
}

function PathRow({ form, spec, shared, value }) {
  const choose = async (kind) => {
    const path = await choosePath(kind, value);
    if (path) enter(form, spec.name, path);
  };
  const paste = (event) => {
    const text = event.clipboardData.getData('text');
    if (spec.name !== 'input_path' || !/\S[\r\n]+\S/.test(text)) return;
    event.preventDefault(); // a field of one line would join the lines to one name
    enter(form, spec.name, onOneLine(text));
  };
  const recent = spec.recent ? store[spec.recent].value : [];
  return html`<span class="path-row"><input ...${shared} type="text" onPaste=${paste}
      list=${`recent-${shared.id}`} value=${value} />
    <${IconButton} icon=${spec.kind === 'file' ? 'file-text' : 'folder-open'} onClick=${() => choose(spec.kind)}
      label=${t(spec.kind === 'file' ? 'page.plan.chooseTable' : 'page.choose')} />
    ${
      spec.name === 'input_path' &&
      isWindow() &&
      html`<${IconButton} icon="image" label=${t('page.chooseFile')} onClick=${() => choose('file')} />`
    }</span>
    <datalist id=${`recent-${shared.id}`}>${recent.map((path) => html`<option key=${path} value=${path} />`)}
      </datalist>`;
}

function Choice({ form, spec, shared, value, texts }) {
  const choices = spec.choices.includes(value) ? spec.choices : [value, ...spec.choices];
  return html`<select ...${shared} value=${value}>
    ${choices.map(
      (one) => html`<option key=${one} value=${one} selected=${one === value}>
        ${choiceLabel(form, spec, one, texts)}</option>`,
    )}</select>`;
}

function Control({ form, spec, value, shared, texts, placeholder, list }) {
  const { kind } = spec;
  if (spec.type === 'choice') {
    return html`<${Choice} form=${form} spec=${spec} shared=${shared} value=${value} texts=${texts} />`;
  }
  if (kind === 'folder' || kind === 'file') {
    return html`<${PathRow} form=${form} spec=${spec} shared=${shared} value=${value} />`;
  }
  const json = kind === 'json' || spec.type === 'object' || (spec.type === 'array' && kind !== 'numbers');
  if (kind === 'text' || kind === 'codes' || json) {
    const code = kind !== 'text';
    return html`<textarea ...${shared} rows=${ROWS[spec.name] ?? ROWS[kind] ?? ROWS.json} class=${code ? 'mono' : ''}
      spellcheck=${!code} placeholder=${json ? '{}' : placeholder} value=${value}></textarea>`;
  }
  if (spec.type === 'integer' || spec.type === 'number') {
    const scale = kind === 'share' ? 100 : 1;
    const edge = (bound) => (typeof bound === 'number' ? bound * scale : undefined);
    return html`<input ...${shared} type="number" inputmode="decimal" min=${edge(spec.minimum)}
      max=${edge(spec.maximum)}
      step=${spec.step ?? (spec.type === 'integer' ? 1 : 'any')} placeholder=${placeholder} value=${value} />`;
  }
  const secret = kind === 'secret';
  const kept = secret && store.config.value[spec.name] ? t('page.field.keyKept') : placeholder;
  return html`<input ...${shared} type=${secret ? 'password' : 'text'} inputmode=${kind === 'url' ? 'url' : undefined}
    class=${kind === 'code' || kind === 'url' ? 'mono' : ''} list=${list} placeholder=${kept} value=${value} />`;
}

function Check({ form, spec, id, value, help, message }) {
  return html`<div class="field check"><label><input type="checkbox" id=${id} checked=${value === true}
      aria-describedby=${`help-${id} error-${id}`}
      onChange=${(event) => enter(form, spec.name, event.currentTarget.checked)} /> ${t(spec.label)}</label>
    <p class="help" id=${`help-${id}`}>${help}</p><${FieldError} id=${id} message=${message} /></div>`;
}

/** Numbers by name: a row for each, which can be taken out, and one more at a press of a button. */
function Counts({ form, spec, id, value, help, shown, message }) {
  const rows = rowsOf(value);
  const put = (changed) => enter(form, spec.name, changed.length ? JSON.stringify(changed) : '');
  const type = (at, place, text) =>
    put(rows.map((row, n) => (n === at ? row.map((one, m) => (m === place ? text : one)) : row)));
  const told = `help-${id} error-${id}`;
  const cell = (at, place, rest) => html`<input value=${rows[at][place]} aria-describedby=${told} autocomplete="off"
    aria-invalid=${message ? 'true' : undefined} onInput=${(event) => type(at, place, event.currentTarget.value)}
    onBlur=${() => leave(form, spec.name)} ...${rest} />`;
  return html`<fieldset class="field counts" key=${spec.name}><legend>${t(spec.label)}</legend>
    ${rows.map((_, at) => {
      const n = at + 1;
      return html`<span class="count-row" key=${at}>
        ${cell(at, 0, {
          type: 'text',
          id: at ? undefined : id,
          dir: 'auto',
          'aria-label': t(`${spec.label}.name`, { n }),
        })}
        ${cell(at, 1, {
          type: 'number',
          min: spec.minimum,
          max: spec.maximum,
          'aria-label': t(`${spec.label}.count`, { n }),
        })}
        <${IconButton} icon="x" label=${t('page.counts.remove', { n })}
          onClick=${() => put(rows.filter((__, m) => m !== at))} /></span>`;
    })}
    <button type="button" class="button small" id=${rows.length ? undefined : id}
      onClick=${() => put([...rows, ['', String(spec.minimum ?? 1)]])}><${Icon} name="plus" size=${14} />
      ${t(`${spec.label}.add`)}</button>
    <p class=${shown ? 'help' : 'help for-readers'} id=${`help-${id}`}>${help}</p>
    <${FieldError} id=${id} message=${message} /></fieldset>`;
}

/**
 * A control with its label. `help`: whether its help is shown (readers hear it in any case); `label`, `placeholder`:
 * in place of the usual ones; `texts`: words of choices; `list`: id of suggestions; `control`: another id for the same
 * field, where it stands twice.
 */
export function Field({ form, name, help = false, label, placeholder = '', texts, list, control, class: extra = '' }) {
  const spec = store.specs[form].value.find((one) => one.name === name);
  if (!spec) return null;
  const id = control ?? fieldId(form, name);
  const value = store.forms[form].value[name] ?? '';
  const message = store.fieldErrors.value[`${form}.${name}`];
  const note = store.fieldNotes.value[`${form}.${name}`];
  const words = has(spec.help) ? t(spec.help) : '';
  if (spec.type === 'boolean') {
    return html`<${Check} form=${form} spec=${spec} id=${id} value=${value} help=${words} message=${message} />`;
  }
  if (spec.kind === 'counts') {
    return html`<${Counts} form=${form} spec=${spec} id=${id} value=${value} help=${words} shown=${help}
      message=${message} />`;
  }
  const typed = (event) => enter(form, name, event.currentTarget.value);
  const shared = {
    id,
    dir: 'auto',
    autocomplete: 'off',
    spellcheck: false,
    'aria-invalid': message ? 'true' : undefined,
    'aria-describedby': `help-${id} error-${id}`,
    ...(spec.type === 'choice' ? { onChange: typed } : { onInput: typed, onBlur: () => leave(form, name) }),
  };
  return html`<div class=${`field ${extra}`}>
    <label for=${id}>${label ?? t(spec.label)}${spec.kind === 'share' && ' (%)'}
      </label>
    <${Control} form=${form} spec=${spec} value=${value} shared=${shared} texts=${texts} placeholder=${placeholder}
      list=${list} />
    <p class=${help ? 'help' : 'help for-readers'} id=${`help-${id}`}>${words}</p>
    <p class="field-note" hidden=${!note}><${Icon} name="check" size=${14} />${note}</p>
    <${FieldError} id=${id} message=${message}>
      <${FaultLine} form=${form} name=${name} text=${String(value)} /><//></div>`;
}

/** Several fields of a form. */
export const Fields = ({ form, names, ...rest }) =>
  names.map((name) => html`<${Field} key=${name} form=${form} name=${name} ...${rest} />`);

/** A part that folds away, remembers it, and says what it holds. */
export function Fold({ name, title, summary = '', open = false, children }) {
  const shown = store.folds.value[name] ?? open;
  const flip = () => {
    store.folds.value = { ...store.folds.peek(), [name]: !shown };
  };
  return html`<section class="fold"><h3><button type="button" aria-expanded=${shown} aria-controls=${`fold-${name}`}
      onClick=${flip}><${Icon} name=${shown ? 'chevron-down' : 'chevron-right'} /><span>${title}</span>
      <span class="fold-summary muted">${!shown && summary}</span></button></h3>
    <div id=${`fold-${name}`} class="fold-body" hidden=${!shown}>${shown && children}</div></section>`;
}

/** Names of fields, for the summary of a fold. */
export const namesOf = (form, names) =>
  names
    .map((name) => specOf(form, name))
    .filter(Boolean)
    .map((spec) => t(spec.label))
    .join(' · ');
