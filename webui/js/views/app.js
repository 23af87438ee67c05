// Owns the arrangement of the page: header, the place where the person is, and what lies over it.
import { useEffect } from 'preact/hooks';
import { html } from '../html.js';
import { t } from '../i18n.js';
import * as store from '../store.js';
import { Banner } from './banner.js';
import { Connect } from './connect.js';
import { DebugDrawer } from './debug.js';
import { Dialogs } from './dialogs.js';
import { Header } from './header.js';
import { Judge } from './judge.js';
import { Menu } from './menu.js';
import { Review } from './review.js';
import { Run } from './run.js';
import { Sets } from './sets.js';
import { Toasts } from './toasts.js';
import { Trial } from './trial.js';

const VIEWS = { connect: Connect, try: Trial, run: Run, judge: Judge, set: Sets };

export function App() {
  const covered = store.review.value !== null;
  const place = store.place.value in VIEWS ? store.place.value : 'connect';
  useEffect(() => {
    store.menu.value = null;
  }, [place]);
  return html`<div class="app" inert=${covered}><a class="skip" href="#work">${t('page.skip')}</a><${Header} />
      ${!covered && html`<${Banner} />`}
      <main class=${`place ${place}`} id="work" tabindex="-1" aria-label=${t(`page.place.${place}`)}>
        <${VIEWS[place]} key=${place} /></main></div>
    ${covered && html`<${Review} />`}
    ${store.debugTask.value !== null && html`<${DebugDrawer} key=${store.debugTask.value} />`}
    <${Menu} /><${Dialogs} /><${Toasts} />`;
}
