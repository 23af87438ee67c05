// Owns the dialogs of the trial's columns: the library of prompts, and a column's own connection and parameters.
import { useState } from 'preact/hooks';
import { html, Icon, IconButton } from '../html.js';
import { t } from '../i18n.js';
import { findPrompts, forgetPrompt, star } from '../library.js';
import * as store from '../store.js';

function Prompt({ one, done }) {
  return html`<li><${IconButton} icon="star" class=${one.starred ? 'starred' : ''} aria-pressed=${one.starred}
      label=${t(one.starred ? 'page.library.unstar' : 'page.library.star')} onClick=${() => star(one.text)} />
    <button type="button" class="choice" onClick=${() => done(one.text)}><span dir="auto">${one.text}</span></button>
    <${IconButton} icon="trash-2" label=${t('page.library.forget')} onClick=${() => forgetPrompt(one.text)} /></li>`;
}

export function Library({ done }) {
  const [words, setWords] = useState('');
  const found = findPrompts(words);
  return html`<label class="search wide"><span class="for-readers">${t('page.library.search')}</span>
      <${Icon} name="search" size=${14} /><input type="search" autofocus placeholder=${t('page.library.search')}
        value=${words} onInput=${(event) => setWords(event.currentTarget.value)} /></label>
    <ul class="projects library" tabindex="0" aria-label=${t('page.trial.library')}>
      ${found.map((one) => html`<${Prompt} key=${one.text} one=${one} done=${done} />`)}
      ${!found.length && html`<li class="muted">${t('page.library.none')}</li>`}</ul>`;
}

/** A JSON object, or null for what is none; nothing entered is an empty one. */
function parsed(text) {
  try {
    const value = JSON.parse(text.trim() || '{}');
    return value && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/** Another connection, model or parameters for one column. */
export function ColumnEntry({ dialog, done }) {
  const { preset = '', config = {} } = dialog.column;
  const { model_name: ownModel = '', ...others } = config ?? {};
  const [chosen, choose] = useState(preset ?? '');
  const [model, setModel] = useState(ownModel);
  const [more, setMore] = useState(Object.keys(others).length ? JSON.stringify(others, null, 2) : '');
  const fields = parsed(more);
  const typed = (set) => (event) => set(event.currentTarget.value);
  const base = store.presets.value[chosen] ?? store.forms.config.value;
  const confirm = (event) => {
    event.preventDefault();
    const own = model.trim() ? { ...fields, model_name: model.trim() } : fields;
    done({ preset: chosen || undefined, config: Object.keys(own).length ? own : undefined });
  };
  return html`<form onSubmit=${confirm}><div class="field">
      <label for="column-preset">${t('page.column.connection')}</label>
      <select id="column-preset" value=${chosen} onChange=${typed(choose)}><option value="">
        ${t('page.column.current')}</option>${Object.keys(store.presets.value).map(
          (name) => html`<option key=${name} value=${name} selected=${name === chosen}>${name}</option>`,
        )}</select></div>
    <div class="field"><label for="column-model">${t('config.model_name.label')}</label>
      <input id="column-model" type="text" class="mono" value=${model} placeholder=${base.model_name}
        onInput=${typed(setModel)} autocomplete="off" /></div>
    <div class="field"><label for="column-more">${t('page.column.more')}</label>
      <textarea id="column-more" class="mono" rows="4" spellcheck=${false} value=${more} onInput=${typed(setMore)}
        placeholder=${'{"temperature": 0.3, "extra_body": {"seed": 42}}'}
        aria-invalid=${fields ? undefined : 'true'}></textarea>
      <p class="help">${t('page.column.moreHelp')}</p></div>
    <p class="small muted"><bdi>${base.api_url}</bdi></p>
    <div class="dialog-deeds"><button type="button" class="button" onClick=${() => done(null)}>${t('page.cancel')}
      </button><button class="button primary" disabled=${!fields}>${t('page.ok')}</button></div></form>`;
}
