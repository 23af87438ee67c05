// Owns the arrangement of the page: run bar, settings side, list, and what lies over them.
import { Banner } from './banner.js';
import { DatasetDrawer } from './dataset.js';
import { DebugDrawer } from './debug.js';
import { Dialogs } from './dialogs.js';
import { Menu } from './menu.js';
import { Pairs } from './pairs.js';
import { Review } from './review.js';
import { RunBar } from './runbar.js';
import { Side } from './side.js';
import { Toasts } from './toasts.js';
import { Toolbar } from './toolbar.js';
import { Welcome } from './welcome.js';
import { html } from '../html.js';
import { t } from '../i18n.js';
import * as store from '../store.js';

function Work() {
  const empty = store.total.value === 0 && !store.filtered.value;
  return html`<main class="work" id="work" aria-label=${t('page.list')} tabindex="-1">
    ${empty ? html`<${Welcome} />` : html`<${Toolbar} /><${Pairs} />`}
  </main>`;
}

export function App() {
  const covered = store.review.value !== null;
  return html`
    <div class=${`app ${store.sideOpen.value ? 'with-side' : ''}`} inert=${covered}>
      <a class="skip" href="#work">${t('page.skip')}</a>
      <${RunBar} />
      ${!covered && html`<${Banner} />`}
      <div class="columns">
        ${store.sideOpen.value && html`<${Side} />`}
        <${Work} />
      </div>
    </div>
    ${covered && html`<${Review} />`}
    ${store.debugTask.value !== null && html`<${DebugDrawer} key=${store.debugTask.value} />`}
    ${store.datasetOpen.value && html`<${DatasetDrawer} />`}
    <${Menu} />
    <${Dialogs} />
    <${Toasts} />`;
}
