// Owns the banner: the program cannot be reached, or the reason of a pause with what can be done about it.
import { html, Icon } from '../html.js';
import { problemText, t } from '../i18n.js';
import { resume, stop, tryOne } from '../run.js';
import * as store from '../store.js';
import { Suspects } from './suspects.js';

function Deed({ icon, label, name, run }) {
  return html`<button type="button" class="button small" disabled=${store.busy.value.has(name)} onClick=${run}>
    <${Icon} name=${icon} size=${14} />${label}</button>`;
}

export function Banner() {
  if (store.connection.value === 'lost') {
    return html`<div class="banner bad" role="alert"><${Icon} name="wifi-off" /><span>${t('page.gone')}</span></div>`;
  }
  const paused = store.run.value?.paused;
  const suspects = store.place.value === 'run' && html`<${Suspects} />`;
  if (!paused) return suspects || null;
  const waits = paused.code !== 'rate_pause';
  return html`<div class="banner warn" role="status"><${Icon} name="clock" /><span>${problemText(paused)}</span>
      <span class="spring"></span>${
        waits &&
        html`<${Deed} name="try_one" icon="repeat-2" label=${t('page.run.tryOne')} run=${tryOne} />
      <${Deed} name="resume" icon="play" label=${t('page.run.goOn')} run=${resume} />`
      }<${Deed} name="stop" icon="octagon-pause" label=${t('page.stop')} run=${stop} /></div>
    ${suspects}`;
}
