// Owns the page's start: door, words, state, list, stream, in that order, and the first drawing.
import { batch } from '@preact/signals';
import { render } from 'preact';
import { call, openDoor } from './api.js';
import { connect, refresh, takeState } from './events.js';
import { html, loadIcons } from './html.js';
import { nearest, setLanguage } from './i18n.js';
import { startKeys } from './keys.js';
import { reload } from './list.js';
import { fillForm, remember, startRemembering, startTheme } from './settings.js';
import { startSignals, runFinished } from './signals.js';
import { startRule } from './rule.js';
import { enterPath } from './actions.js';
import * as store from './store.js';
import { App } from './views/app.js';
import { TokenGate } from './views/token.js';

const RETRY = 1500; // ms

async function firstState() {
  for (;;) {
    try {
      return await Promise.all([call('get_state', { tasks: 0 }), call('get_ui')]);
    } catch (error) {
      if (error.code !== 'server_gone') throw error;
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }
}

async function boot() {
  await openDoor();
  const [[state, ui], { fields }] = await Promise.all([firstState(), call('describe_config'), loadIcons()]);
  const settings = ui.settings ?? {};
  remember(settings, state);
  startTheme();
  await Promise.all([setLanguage(nearest(settings.language ?? state.language ?? navigator.language)), reload()]);
  batch(() => {
    store.schema.value = fields;
    takeState(state);
    fillForm(store.config.peek());
    if (settings.draft) store.form.value = { ...store.form.peek(), ...settings.draft };
  });
  render(html`<${App} />`, document.getElementById('app'));
  connect(runFinished);
  startSignals();
  startKeys();
  startRemembering();
  await startRule(state.save_rule);
  store.templates.value = (await call('list_templates')).templates;
  if (store.inputPath.peek()) enterPath(store.inputPath.peek(), { now: true });
  addEventListener('focus', () => refresh().catch(() => undefined)); // the stream says when the server is gone
}

boot().catch((error) => {
  if (error.code === 'token_required') render(html`<${TokenGate} />`, document.getElementById('app'));
  else {
    render(html`<p class="boot-error" role="alert">${error.message}</p>`, document.getElementById('app'));
    throw error;
  }
});
