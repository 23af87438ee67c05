// Owns the empty state: three steps, and the demo.
import { start } from '../actions.js';
import { html, Icon } from '../html.js';
import { t } from '../i18n.js';
import { showField } from '../settings.js';
import * as store from '../store.js';

function Step({ n, title, text, action, done }) {
  return html`<li class=${done ? 'step done' : 'step'}><span class="step-number" aria-hidden="true">${done ? html`<${Icon} name="check" />` : n}</span>
    <div><h3>${title}</h3><p>${text}</p>${action && html`<button type="button" class="button" onClick=${action.run}>${action.label}</button>`}</div></li>`;
}

function Demo() {
  if (!store.demo.value) {
    return html`<div class="demo-box"><h3>${t('page.demo.tryTitle')}</h3><p>${t('page.demo.tryText')}</p><p><code>./start.sh --demo</code></p></div>`;
  }
  return html`<div class="demo-box"><h3>${t('page.demo.readyTitle')}</h3><p>${t('page.demo.readyText')}</p>
    <button type="button" class="button primary" onClick=${start} disabled=${!store.inputPath.value}><${Icon} name="play" />${t('page.demo.start')}</button></div>`;
}

export function Welcome() {
  const config = store.config.value;
  return html`<div class="welcome">
    <h2>${t('page.welcome.title')}</h2><p class="lead">${t('page.welcome.lead')}</p>
    <ol class="steps">
      <${Step} n="1" title=${t('page.welcome.apiTitle')} text=${t('page.welcome.apiText')} done=${store.demo.value || Boolean(config.api_key && config.api_url)} action=${{ label: t('page.welcome.apiDo'), run: () => showField('api_url') }} />
      <${Step} n="2" title=${t('page.welcome.pathTitle')} text=${t('page.welcome.pathText')} done=${(store.inspection.value?.count ?? 0) > 0} action=${{ label: t('page.welcome.pathDo'), run: () => showField('input_path') }} />
      <${Step} n="3" title=${t('page.welcome.startTitle')} text=${t('page.welcome.startText')} />
    </ol><${Demo} /></div>`;
}
