// Owns the banner: the program cannot be reached, the pictures are gone, or why a run pauses; and what can be done.
import { html, Icon } from '../html.js';
import { problemText, t } from '../i18n.js';
import { relocateProject } from '../projects.js';
import { resume, stop, tryOne } from '../run.js';
import * as store from '../store.js';
import { Suspects } from './suspects.js';

function Deed({ icon, label, name, run }) {
  return html`<button type="button" class="button small" disabled=${store.busy.value.has(name)} onClick=${run}>
    <${Icon} name=${icon} size=${14} />${label}</button>`;
}

/** The folder of this project is not where it was. */
function Lost() {
  const path = store.lostFolder.value;
  const all = store.projects.value;
  const own = all?.projects.find((one) => one.id === all.current)?.input_path;
  if (!path || path !== own || !store.taskCount.value) return null;
  return html`<div class="banner warn" role="status"><${Icon} name="folder" />
    <span>${t('page.project.lost')} <bdi>${path}</bdi></span><span class="spring"></span>
    <${Deed} icon="search" name="project" label=${t('page.project.relocate')} run=${relocateProject} /></div>`;
}

export function Banner() {
  if (store.connection.value === 'lost') {
    return html`<div class="banner bad" role="alert"><${Icon} name="wifi-off" /><span>${t('page.gone')}</span></div>`;
  }
  const paused = store.run.value?.paused;
  const suspects = store.place.value === 'run' && html`<${Suspects} />`;
  if (!paused) return html`<${Lost} />${suspects}`;
  const waits = paused.code !== 'rate_pause';
  return html`<div class="banner warn" role="status"><${Icon} name="clock" /><span>${problemText(paused)}</span>
      <span class="spring"></span>${
        waits &&
        html`<${Deed} name="try_one" icon="repeat-2" label=${t('page.run.tryOne')} run=${tryOne} />
      <${Deed} name="resume" icon="play" label=${t('page.run.goOn')} run=${resume} />`
      }<${Deed} name="stop" icon="octagon-pause" label=${t('page.stop')} run=${stop} /></div>
    ${suspects}`;
}
