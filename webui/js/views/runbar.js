// Owns the run bar: state, progress, counts, rate, time left, and the deeds of a run.
import { clearTasks, resume, retryFailed, saveAll, start, stop } from '../actions.js';
import { html, Icon, IconButton } from '../html.js';
import { duration, LANGUAGES, number, oneDigit, t } from '../i18n.js';
import { showKeys } from '../keys.js';
import { chooseLanguage } from '../settings.js';
import { setFilter } from '../list.js';
import { chooseNotify } from '../signals.js';
import * as store from '../store.js';
import { openMenu } from './menu.js';

function stateText() {
  if (store.stopRequested.value && store.working.value) return t('page.state.stopping');
  if (store.running.value) return t('page.state.running');
  if (store.singleRetries.value) return t('page.state.retrying', { count: store.singleRetries.value });
  const { total, finished } = store.progress.value;
  if (!total) return t('page.state.empty');
  return finished === total ? t('page.state.finished') : t('page.state.open', { count: total - finished });
}

function Bar() {
  const { total, done, partial_success: partly, failed, stopped, percent } = store.progress.value;
  const part = (count) => ({ width: `${total ? (100 * count) / total : 0}%` });
  return html`<div class="bar" role="progressbar" aria-label=${t('page.progress')} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${percent} aria-valuetext=${`${percent}% · ${stateText()}`}>
    <i class="done" style=${part(done)}></i><i class="partial" style=${part(partly)}></i><i class="failed" style=${part(failed)}></i><i class="stopped" style=${part(stopped)}></i>
  </div>`;
}

function Count({ status, count, icon }) {
  return html`<button type="button" class=${`count ${status}`} title=${t('page.filter.only', { what: t(`page.status.${status}`) })}
    onClick=${() => setFilter({ status: [status], only: [], finding: [], q: '' })}>
    <${Icon} name=${icon} size=${14} /><span class="count-label">${t(`page.status.${status}`)}</span> <b>${number(count)}</b></button>`;
}

function Figures() {
  const progress = store.progress.value;
  const run = store.run.value ?? {};
  return html`<div class="figures">
    <span class="state" data-state=${store.working.value ? 'run' : 'rest'}>${stateText()}</span>
    ${progress.total > 0 && html`<span class="of">${t('page.run.of', { finished: progress.finished, total: progress.total })} · ${oneDigit(progress.percent)}%</span>
      <${Count} status="done" icon="circle-check" count=${progress.done} />
      ${progress.partial_success > 0 && html`<${Count} status="partial_success" icon="triangle-alert" count=${progress.partial_success} />`}
      <${Count} status="failed" icon="circle-x" count=${progress.failed} />
      ${progress.processing > 0 && html`<${Count} status="processing" icon="loader" count=${progress.processing} />`}`}
    ${store.running.value && run.limit < (store.config.value.concurrency_limit ?? 0) && html`<span class="rate">${t('page.run.slowed', { limit: run.limit })}</span>`}
    ${store.running.value && run.rate_per_minute > 0 && html`<span class="rate">${t('page.run.rate', { rate: oneDigit(run.rate_per_minute) })}</span>`}
    ${store.running.value && typeof run.seconds_left === 'number' && html`<span class="rate">${t('page.run.left', { time: duration(run.seconds_left) })}</span>`}
  </div>`;
}

function Deeds() {
  const { total, pending, stopped, failed, done, partial_success: partly } = store.progress.value;
  const busy = store.busy.value;
  const open = pending + stopped;
  return html`<div class="deeds">
    ${store.working.value
      ? html`<button type="button" class="button stop" onClick=${stop} disabled=${busy.has('stop') || store.stopRequested.value}><${Icon} name="octagon-pause" />${t('page.stop')}</button>`
      : html`<button type="button" class="button primary" onClick=${start} disabled=${busy.has('start')}><${Icon} name="play" />${t('page.start')}</button>`}
    ${!store.working.value && open > 0 && html`<button type="button" class="button" onClick=${resume} disabled=${busy.has('resume')}><${Icon} name="rotate-cw" />${t('page.resume', { n: open })}</button>`}
    ${!store.running.value && failed > 0 && html`<button type="button" class="button" onClick=${retryFailed} disabled=${busy.has('retry_failed')}><${Icon} name="repeat-2" />${t('page.retryFailed', { n: failed })}</button>`}
    ${total > 0 && html`<button type="button" class="button" onClick=${() => saveAll()} disabled=${busy.has('save_all') || done + partly === 0}><${Icon} name="save-all" />${busy.has('save_all') ? t('page.saving') : t('page.saveAll')}</button>`}
  </div>`;
}

function more(event) {
  const theme = (name, icon) => ({ icon, label: t(`page.theme.${name}`), checked: store.theme.value === name, run: () => { store.theme.value = name; } });
  openMenu(event.currentTarget, t('page.more'), [
    theme('system', 'monitor'), theme('light', 'sun'), theme('dark', 'moon'), null,
    ...Object.entries(LANGUAGES).map(([lang, label]) => ({ icon: 'languages', label, checked: store.language.value === lang, run: () => chooseLanguage(lang) })), null,
    { icon: 'info', label: t('page.notify'), checked: store.notify.value, run: () => chooseNotify(!store.notify.value) },
    { icon: 'keyboard', label: t('page.keys'), run: showKeys },
    { icon: 'refresh-cw', label: t('page.refresh'), run: () => location.reload() }, null,
    { icon: 'trash-2', label: t('page.clear.open'), danger: true, disabled: store.working.value || !store.taskCount.value, run: clearTasks },
  ]);
}

export function RunBar() {
  const side = store.sideOpen.value;
  return html`<header class="runbar">
    <div class="runbar-row">
      <${IconButton} icon=${side ? 'panel-left-close' : 'panel-left-open'} size=${18} label=${t(side ? 'page.side.close' : 'page.side.open')} aria-expanded=${side}
        onClick=${() => { store.sideOpen.value = !side; }} />
      <h1>${t('page.title')}</h1>
      ${store.demo.value && html`<span class="demo-mark" title=${t('page.demo.hint')}>${t('page.demo')}</span>`}
      <${Figures} />
      <${Deeds} />
      <${IconButton} icon="ellipsis" size=${18} label=${t('page.more')} aria-haspopup="menu" onClick=${more} />
    </div>
    <${Bar} />
  </header>`;
}
