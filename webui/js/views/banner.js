// Owns the banner: the program cannot be reached, or the reason of a pause with what can be done about it.
import { html, Icon } from '../html.js';
import { problemText, t } from '../i18n.js';
import { resume } from '../run.js';
import * as store from '../store.js';

export function Banner() {
  if (store.connection.value === 'lost') {
    return html`<div class="banner bad" role="alert"><${Icon} name="wifi-off" /><span>${t('page.gone')}</span></div>`;
  }
  const paused = store.run.value?.paused;
  if (!paused) return null;
  const waits = paused.code !== 'rate_pause';
  return html`<div class="banner warn" role="status"><${Icon} name="clock" /><span>${problemText(paused)}</span>
    ${
      waits &&
      html`<button type="button" class="button small" disabled=${store.busy.value.has('resume')} onClick=${resume}>
        ${t('page.run.goOn')}</button>`
    }</div>`;
}
