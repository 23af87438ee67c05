// Owns the page's start: door, words, state, list, stream, in that order, and the first drawing.
import { batch } from '@preact/signals';
import { render } from 'preact';
import { call, openDoor } from './api.js';
import { connect, refresh, restWhenHidden, takeState } from './events.js';
import { html, loadIcons } from './html.js';
import { nearest, setLanguage } from './i18n.js';
import { startJobs } from './dataset.js';
import { startKeys } from './keys.js';
import { reload } from './list.js';
import { fillForm, remember, startRemembering, startTheme } from './settings.js';
import { startSignals, runFinished } from './signals.js';
import { startRule } from './rule.js';
import { enterPath, startInspecting } from './inspect.js';
import * as store from './store.js';
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
  const waiting = [sure('get_state', { tasks: 0 }), sure('describe_config'), loadIcons()];
  const settings = (await sure('get_ui')).settings ?? {};
  const list = (remember(settings), reload());
  const [state, { fields }] = await Promise.all(waiting);
  if (!store.outputDir.peek()) store.outputDir.value = state.save_rule?.output_dir ?? '';
  startTheme();
  await patiently(() => setLanguage(nearest(settings.language ?? state.language ?? navigator.language)));
  await list;
  batch(() => {
    store.schema.value = fields;
    takeState(state);
    fillForm(store.config.peek());
    if (settings.draft) store.form.value = { ...store.form.peek(), ...settings.draft };
  });
  render(html`<${App} />`, document.getElementById('app'));
  connect(runFinished);
  restWhenHidden(runFinished);
  startSignals();
  startJobs();
  startKeys();
  startWindow();
  startRemembering();
  startInspecting();
  const [rules, { templates }] = await Promise.all([sure('list_save_rules'), sure('list_templates')]);
  startRule(rules, state.save_rule);
  store.templates.value = templates;
  if (!store.inputPath.peek() && state.sample_path) store.inputPath.value = state.sample_path;
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
