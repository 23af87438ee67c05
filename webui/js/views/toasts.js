// Owns the short notices, and what readers hear.
import { html, Icon, IconButton } from '../html.js';
import { t } from '../i18n.js';
import { dismiss } from '../notices.js';
import * as store from '../store.js';

const ICON = { info: 'circle-check', error: 'circle-alert' };

export function Toasts() {
  return html`
    <div class=${`toasts ${store.review.value ? 'above-deeds' : ''}`} role="region" aria-label=${t('page.notices')}>
      <div role="status" aria-live="polite" class="toast-list">
        ${store.toasts.value.map(
          (one) => html`<div class=${`toast ${one.kind}`} key=${one.id}>
          <${Icon} name=${ICON[one.kind]} /><span class="toast-text" dir="auto">${one.text}</span>
          ${
            one.action &&
            html`<button type="button" class="link" onClick=${() => {
              one.action.run();
              dismiss(one.id);
            }}>${one.action.label}</button>`
          }
          <${IconButton} icon="x" size=${14} label=${t('page.close')} onClick=${() => dismiss(one.id)} /></div>`,
        )}
      </div>
    </div>
    <div class="for-readers" role="status" aria-live="polite">${store.announcement.value}</div>`;
}
