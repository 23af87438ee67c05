// Owns the header: project, the way with its states, the figures of the run with Stop, and the menu of the page.
import { openCosts } from '../costs.js';
import { chooseLanguage } from '../events.js';
import { html, Icon, IconButton } from '../html.js';
import { duration, LANGUAGES, money, number, oneDigit, t } from '../i18n.js';
import { keyLabel } from '../keymap.js';
import { setFilter } from '../list.js';
import { showKeys } from '../notices.js';
import { chooseNotify } from '../outside.js';
import { goTo } from '../pagekeys.js';
import { openProjects } from '../projects.js';
import { clearTasks, stop } from '../run.js';
import * as store from '../store.js';
import { openMenu } from './menu.js';

function Project() {
  const all = store.projects.value;
  if (!all) return html`<h1>${t('page.title')}</h1>`;
  const current = all.projects.find((one) => one.id === all.current);
  const name = all.projects.length > 1 || current?.input_path ? current?.name : t('page.title'); // until there is one
  return html`<button type="button" class="project" aria-haspopup="dialog" title=${keyLabel('page', 'projects')}
    onClick=${openProjects}><${Icon} name="folder" /><h1><bdi>${name ?? t('page.title')}</bdi></h1>
    <span class="muted project-count">${number(store.taskCount.value)}</span>
    <${Icon} name="chevron-down" size=${14} /></button>`;
}

const done = html`<${Icon} name="check" size=${14} class="good" />`;

/** What each place says of itself, beside its name. */
const STATES = {
  connect: () => (store.config.value.api_key || store.demo.value ? done : null),
  try: () => {
    const rows = store.trial.value?.rows ?? [];
    const voted = rows.filter((row) => row.voted).length;
    return rows.length ? (voted === rows.length ? done : html`<span>${voted} / ${rows.length}</span>`) : null;
  },
  run: () => {
    const { total, finished, stopped, percent } = store.progress.value;
    if (store.run.value?.paused) return html`<${Icon} name="octagon-pause" size=${14} class="warn" />`;
    if (!total) return null;
    return finished === total && !stopped
      ? done
      : html`<span>${Math.floor(shareDone(percent, total, stopped))} %</span>`;
  },
  judge: () => {
    const { undecided: left, decided } = store.facets.value?.only ?? {};
    if (!store.taskCount.value) return null;
    const over = decided ? done : null;
    return left ? html`<span>${number(left)}</span>` : over;
  },
  set: () => {
    const bad = store.foundTasks.value?.any;
    return bad ? html`<span class="warn"><${Icon} name="triangle-alert" size=${14} />${number(bad)}</span>` : null;
  },
};

/** Percent of the tasks that came to something: what was stopped did not. */
const shareDone = (percent, total, stopped) => Math.max(0, percent - (100 * stopped) / total);

function Way() {
  return html`<nav class="way" aria-label=${t('page.way')}><ol>${store.PLACES.map(
    (name, at) => html`<li key=${name}><button type="button" class="way-place" title=${`Alt ${at + 1}`}
      aria-current=${store.place.value === name ? 'page' : undefined}
      onClick=${() => goTo(name)}>${t(`page.place.${name}`)}${STATES[name]()}</button></li>`,
  )}</ol></nav>`;
}

function stateText() {
  const { total, pending, processing, stopped } = store.progress.value;
  if (store.stopRequested.value && store.working.value) return t('page.state.stopping');
  if (store.run.value?.paused) return t('page.state.paused');
  if (store.running.value) return t('page.state.running');
  if (store.singleRetries.value) return t('page.state.retrying', { count: store.singleRetries.value });
  if (!total) return t('page.state.empty');
  if (stopped) return t('page.state.stopped');
  return pending + processing ? t('page.state.open', { count: pending + processing }) : t('page.state.finished');
}

function Count({ status, icon }) {
  const count = store.progress.value[status];
  if (!count) return null;
  const show = () => {
    store.place.value = 'judge';
    setFilter({ ...store.NO_FILTER, status: [status] });
  };
  return html`<button type="button" class=${`count ${status}`} onClick=${show}
    title=${t('page.filter.only', { what: t(`page.status.${status}`) })}><${Icon} name=${icon} size=${14} />
    <span class="count-label">${t(`page.status.${status}`)}</span><b>${number(count)}</b></button>`;
}

function Cost() {
  const cost = store.run.value?.cost ?? 0;
  if (!cost) return null;
  const budget = Number(store.config.value.budget) || 0;
  const share = { width: `${Math.min(100, (100 * cost) / (budget || 1))}%` };
  return html`<button type="button" class="count cost" aria-haspopup="dialog" title=${t('page.costs')}
    onClick=${openCosts}><b>${money(cost)}</b>
    ${budget > 0 && html`<span class="muted"> / ${money(budget)}</span><i class="gauge"><i style=${share}></i></i>`}
      </button>`;
}

function Figures() {
  const { total, finished, stopped, processing } = store.progress.value;
  const run = store.run.value ?? {};
  const state = store.working.value ? 'run' : stopped ? 'stopped' : 'rest';
  const slowed = store.running.value && run.limit < (store.config.value.concurrency_limit ?? 0);
  return html`<div class="figures"><span class="state" data-state=${state}>${stateText()}</span>
    ${total > 0 && html`<span class="of">${number(finished - stopped)} / ${number(total)}</span>`}
    <${Count} status="failed" icon="circle-x" /><${Count} status="stopped" icon="octagon-pause" />
    ${
      store.running.value &&
      run.rate_per_minute > 0 &&
      html`<span class="rate">${t('page.run.rate', { rate: oneDigit(run.rate_per_minute) })}</span>`
    }
    ${
      store.running.value &&
      typeof run.seconds_left === 'number' &&
      html`<span class="rate">${t('page.run.left', { time: duration(run.seconds_left) })}</span>`
    }
    ${processing > 0 && html`<span class="rate">${t('page.run.inFlight', { count: processing })}</span>`}
    ${slowed && html`<span class="rate warn">${t('page.run.slowed', { limit: run.limit })}</span>`}
    <${Cost} />
    ${
      store.working.value &&
      html`<button type="button" class="button stop" onClick=${stop}
        disabled=${store.busy.value.has('stop') || store.stopRequested.value}><${Icon} name="octagon-pause" />
        ${t('page.stop')}</button>`
    }</div>`;
}

function Bar() {
  const { total, done: whole, partial_success: partly, failed, stopped, percent } = store.progress.value;
  const part = (count) => ({ width: `${total ? (100 * count) / total : 0}%` });
  const now = shareDone(percent, total || 1, stopped);
  return html`<div class="bar" role="progressbar" aria-label=${t('page.progress')} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${now} aria-valuetext=${`${Math.floor(now)}% · ${stateText()}`}>
    <i class="done" style=${part(whole)}></i><i class="partial" style=${part(partly)}></i>
    <i class="failed" style=${part(failed)}></i><i class="stopped" style=${part(stopped)}></i></div>`;
}

function more(event) {
  const theme = (name, icon) => ({
    icon,
    label: t(`page.theme.${name}`),
    checked: store.theme.value === name,
    run: () => {
      store.theme.value = name;
    },
  });
  const speak = ([lang, label]) => ({
    icon: 'languages',
    label,
    checked: store.language.value === lang,
    run: () => chooseLanguage(lang),
  });
  const notify = store.notify.value;
  openMenu(event.currentTarget, t('page.more'), [
    theme('system', 'monitor'),
    theme('light', 'sun'),
    theme('dark', 'moon'),
    null,
    ...Object.entries(LANGUAGES).map(speak),
    null,
    { icon: 'info', label: t('page.notify'), checked: notify, run: () => chooseNotify(!notify) },
    { icon: 'keyboard', label: t('page.keys'), run: showKeys },
    { icon: 'refresh-cw', label: t('page.refresh'), run: () => location.reload() },
    null,
    {
      icon: 'trash-2',
      label: t('page.clear.open'),
      danger: true,
      disabled: store.working.value || !store.taskCount.value,
      run: clearTasks,
    },
  ]);
}

export function Header() {
  return html`<header class="runbar"><div class="runbar-row"><${Project} />
    ${store.demo.value && html`<span class="demo-mark" title=${t('page.demo.hint')}>${t('page.demo')}</span>`}
    <${Way} /><span class="spring"></span><${Figures} />
    <${IconButton} icon="ellipsis" size=${18} label=${t('page.more')} aria-haspopup="menu" onClick=${more} /></div>
    <${Bar} /></header>`;
}
