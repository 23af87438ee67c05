// Owns the place Connect: whose connection it is, the services, and beside its form what is known of it.
import { useEffect, useRef } from 'preact/hooks';
import {
  applyPreset,
  applyTemplate,
  deletePreset,
  exportPresets,
  importPresets,
  savePresetAs,
} from '../connections.js';
import { html, Icon, IconButton } from '../html.js';
import { has, t } from '../i18n.js';
import { knowsJudge, openJudge } from '../judgesettings.js';
import * as store from '../store.js';
import { Connection, Pictures } from './connection.js';
import { Facts } from './facts.js';
import { JudgeFacts, JudgeForm } from './judgeform.js';
import { openMenu } from './menu.js';

function Roles() {
  if (!knowsJudge()) return null;
  const ready = { config: Boolean(store.config.value.api_key), judge: Boolean(store.judge.value?.model_name) };
  return html`<div class="segments" role="group" aria-label=${t('connect.role')}>${['config', 'judge'].map(
    (one) => html`<button type="button" key=${one} aria-pressed=${store.role.value === one}
      onClick=${() => {
        store.role.value = one;
      }}>${t(`connect.role.${one}`)}${ready[one] && html`<${Icon} name="check" size=${13} class="good" />`}</button>`,
  )}</div>`;
}

function connectionMenu(event, current, file) {
  openMenu(event.currentTarget, t('page.preset.more'), [
    { icon: 'download', label: t('page.preset.export'), run: exportPresets },
    { icon: 'upload', label: t('page.preset.import'), run: () => file.click() },
    null,
    {
      icon: 'trash-2',
      label: t('page.preset.delete'),
      danger: true,
      disabled: !current,
      run: () => deletePreset(current),
    },
  ]);
}

function Mine() {
  const file = useRef(null);
  const names = Object.keys(store.presets.value).sort((a, b) => a.localeCompare(b, store.language.value));
  const current = names.includes(store.presetName.value) ? store.presetName.value : '';
  const chosen = (event) => {
    const [one] = event.currentTarget.files;
    event.currentTarget.value = '';
    if (one) importPresets(one);
  };
  return html`<div class="rail-head"><h2>${t('page.preset.mine')}</h2>
      <${IconButton} icon="save" label=${t('page.preset.saveAs')} onClick=${savePresetAs} />
      <${IconButton} icon="ellipsis" label=${t('page.preset.more')} aria-haspopup="menu"
        onClick=${(event) => connectionMenu(event, current, file.current)} /></div>
    <ul class="connections">${names.map(
      (name) => html`<li key=${name}><button type="button" class="choice" aria-pressed=${name === current}
        onClick=${() => applyPreset(name)}><${Icon} name="plug" size=${14} /><bdi>${name}</bdi></button></li>`,
    )}${!names.length && html`<li class="muted small">${t('page.preset.none')}</li>`}</ul>
    <input type="file" accept="application/json,.json" hidden ref=${file} aria-label=${t('page.preset.import')}
      onChange=${chosen} />`;
}

/** Starting points by their group, in the order in which the program gives them. */
function groups() {
  const found = new Map();
  for (const one of store.templates.value) {
    const name = one.group && has(`template.group.${one.group}`) ? one.group : '';
    found.set(name, [...(found.get(name) ?? []), one]);
  }
  return [...found];
}

/** A service's name without what stands in another script: "阿里云百炼 DashScope (async)". */
function inScript(name) {
  const parts = /^(\p{Script=Han}+) (\S+)(.*)$/u.exec(name);
  if (!parts) return name;
  return `${store.language.value.startsWith('zh') ? parts[1] : parts[2]}${parts[3]}`;
}

function Services() {
  return groups().map(
    ([group, all]) => html`<div class="rail-head" key=${group}><h2>
        ${group ? t(`template.group.${group}`) : t('page.preset.templates')}</h2></div>
      <ul class="services">${all.map(
        (one) => html`<li key=${one.id}><button type="button" class="choice" title=${one.name}
          aria-pressed=${store.service.value === one.id} onClick=${() => applyTemplate(one)}>
          ${inScript(one.name)}</button></li>`,
      )}</ul>`,
  );
}

export function Connect() {
  const judge = store.role.value === 'judge' && knowsJudge();
  useEffect(() => {
    if (knowsJudge()) openJudge();
  }, []);
  return html`<div class="connect-rail" id="services" tabindex="-1"><${Roles} /><${Mine} /><${Services} /></div>
    <div class="connect-form">${judge ? html`<${JudgeForm} />` : html`<${Connection} />`}</div>
    <div class="connect-facts">${judge ? html`<${JudgeFacts} />` : html`<${Pictures} /><${Facts} />`}</div>`;
}
