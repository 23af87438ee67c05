// Owns the preset picker: apply, save, delete, export, import, and the starting points.
import { useRef } from 'preact/hooks';
import { applyPreset, applyTemplate, deletePreset, EXPORT_URL, importPresets, savePreset } from '../actions.js';
import { html, IconButton } from '../html.js';
import { has, t } from '../i18n.js';
import { askText } from '../notices.js';
import * as store from '../store.js';
import { openMenu } from './menu.js';

async function askName() {
  const name = await askText({ title: t('page.preset.saveTitle'), label: t('page.preset.name'), value: store.presetName.peek(), confirm: t('page.preset.save') });
  if (name?.trim()) savePreset(name.trim());
}

function download() {
  const link = Object.assign(document.createElement('a'), { href: EXPORT_URL, download: 'presets.json' });
  document.body.append(link);
  link.click();
  link.remove();
}

function choose(event) {
  const value = event.currentTarget.value;
  if (value.startsWith('preset:')) applyPreset(value.slice(7));
  else if (value.startsWith('template:')) {
    const template = store.templates.peek().find((one) => one.id === value.slice(9));
    if (template) applyTemplate(template);
    event.currentTarget.value = '';
  }
}

export function Presets() {
  const file = useRef(null);
  const names = Object.keys(store.presets.value).sort((a, b) => a.localeCompare(b, store.language.value));
  const current = names.includes(store.presetName.value) ? store.presetName.value : '';
  const more = (event) => openMenu(event.currentTarget, t('page.preset.more'), [
    { icon: 'download', label: t('page.preset.export'), run: download },
    { icon: 'upload', label: t('page.preset.import'), run: () => file.current.click() }, null,
    { icon: 'trash-2', label: t('page.preset.delete'), danger: true, disabled: !current, run: () => deletePreset(current) },
  ]);
  const value = current ? `preset:${current}` : '';
  return html`<section class="presets" aria-label=${t('page.preset')}>
    <label class="for-readers" for="preset">${t('page.preset')}</label>
    <select id="preset" value=${value} onChange=${choose}>
      <option value="" selected=${!value} disabled>${t('page.preset.choose')}</option>
      ${names.length > 0 && html`<optgroup label=${t('page.preset.mine')}>${names.map((name) => html`<option key=${name} value=${`preset:${name}`} selected=${name === current}>${name}</option>`)}</optgroup>`}
      <optgroup label=${t('page.preset.templates')}>${store.templates.value.map((one) => html`<option key=${one.id} value=${`template:${one.id}`} title=${has(one.notes_key) ? t(one.notes_key) : ''}>${one.name}</option>`)}</optgroup>
    </select>
    <${IconButton} icon="save" label=${t('page.preset.saveAs')} onClick=${askName} />
    <${IconButton} icon="ellipsis" label=${t('page.preset.more')} aria-haspopup="menu" onClick=${more} />
    <input type="file" accept="application/json,.json" hidden ref=${file} aria-label=${t('page.preset.import')}
      onChange=${(event) => { const [chosen] = event.currentTarget.files; event.currentTarget.value = ''; if (chosen) importPresets(chosen); }} />
  </section>`;
}
