// Owns the page's start: door, words, state, list, stream, in that order, and the first drawing.
import { batch } from '@preact/signals';
import { render } from 'preact';
import { call, openDoor } from './api.js';
import { startDrop } from './drop.js';
import { connect, refresh, restWhenHidden, takeState } from './events.js';
import { startFacets } from './facets.js';
import { fillSettings } from './form.js';
import { html, loadIcons } from './html.js';
import { nearest, setLanguage } from './i18n.js';
import { enterPath, startInspecting } from './inspect.js';
import { reload } from './list.js';
import { runFinished, startOutside } from './outside.js';
import { startKeys } from './pagekeys.js';
import { loadProjects, offerWayBack } from './projects.js';
import { remember, startRemembering, startTheme } from './remember.js';
import { startRule } from './saving.js';
import { takeForms } from './schemas.js';
import { startJobs } from './sets.js';
import * as store from './store.js';
import { recallSteps } from './undo.js';
import { App } from './views/app.js';
import { TokenGate } from './views/token.js';
import { startWindow } from './window.js';

const RETRY = 1500; // ms

/** Asks until the program answers: it may still be starting, or just be starting anew. */
async function patiently(ask) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.code !== 'server_gone') throw error;
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }
}

async function boot() {
  await openDoor();
  const sure = (name, params) => patiently(() => call(name, params));
  const waiting = [sure('get_state', { tasks: 0 }), loadIcons()];
  const [{ settings = {} }, described] = await Promise.all([sure('get_ui'), sure('describe_config')]);
  takeForms(described);
  const list = (remember(settings), reload());
  const [state] = await Promise.all(waiting);
  startTheme();
  await patiently(() => setLanguage(nearest(settings.language ?? state.language ?? navigator.language)));
  await list;
  batch(() => {
    takeState(state);
    fillSettings();
    if (settings.draft) store.forms.config.value = { ...store.forms.config.peek(), ...settings.draft };
    const nothing = !state.task_count && store.place.peek() === 'judge';
    if (!settings.place || nothing) store.place.value = state.task_count ? 'judge' : 'connect';
  });
  recallSteps();
  await patiently(loadProjects);
  offerWayBack();
  startKeys(); // before anything is shown that a key could be meant for
  render(html`<${App} />`, document.getElementById('app'));
  connect(runFinished);
  restWhenHidden(runFinished);
  startOutside();
  startJobs();
  startWindow();
  startDrop();
  startRemembering();
  startFacets();
  const [rules, { templates }] = await Promise.all([sure('list_save_rules'), sure('list_templates')]);
  startRule(rules, state.save_rule);
  store.templates.value = templates;
  startInspecting();
  const path = store.forms.plan.peek().input_path || state.sample_path;
  if (path) enterPath(path);
  addEventListener('focus', () => refresh().catch(() => undefined)); // the stream says when the server is gone
}

boot().catch((error) => {
  if (error.code === 'token_required') render(html`<${TokenGate} />`, document.getElementById('app'));
  else {
    render(html`<p class="boot-error" role="alert">${error.message}</p>`, document.getElementById('app'));
    throw error;
  }
});
