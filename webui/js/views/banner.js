// Owns the banner when the program cannot be reached, and the one that names the reason of a pause.
import { html, Icon } from '../html.js';
import { problemText, t } from '../i18n.js';
import * as store from '../store.js';

export function Banner() {
  if (store.connection.value === 'lost') {
    return html`<div class="banner bad" role="alert"><${Icon} name="wifi-off" /><span>${t('page.gone')}</span></div>`;
  }
  const paused = store.run.value?.paused;
  if (paused) return html`<div class="banner warn" role="status"><${Icon} name="clock" /><span>${problemText(paused)}</span></div>`;
  return null;
}
