// Owns the list of what is at providers: since when, how far, until when, with collecting and giving up.
import { useEffect } from 'preact/hooks';
import { html, Icon } from '../html.js';
import { dateTime, number, t } from '../i18n.js';
import { toastError } from '../notices.js';
import { collect, giveUp, loadRemote } from '../remote.js';
import * as store from '../store.js';

const SOON = 7200; // seconds before the end of a job's time

function Row({ job }) {
  const busy = store.busy.value.has(`remote ${job.id}`);
  const soon = job.expires_at > 0 && job.expires_at - Date.now() / 1000 < SOON;
  const project = job.project && store.projects.value?.projects.find((one) => one.id === job.project);
  return html`<li><b>${job.provider}</b>
    ${project && html`<bdi class="muted">${t('page.remote.ofProject', { name: project.name })}</bdi>`}
    <span>${t(`page.remote.state.${job.state}`)}</span>
    <span class="muted">${t('page.remote.since', { time: dateTime(job.submitted_at) })}</span>
    <span>${number(job.done)} / ${number(job.tasks)}</span>
    ${job.failed > 0 && html`<span class="bad">${t('page.status.failed')} ${number(job.failed)}</span>`}
    ${
      job.expires_at > 0 &&
      html`<span class=${soon ? 'warn' : 'muted'}>${t('page.remote.until', { time: dateTime(job.expires_at) })}</span>`
    }
    <span class="verbs"><button type="button" class="button small" disabled=${busy} onClick=${() => collect(job)}>
        <${Icon} name="download" size=${14} />${t('page.remote.collect')}</button>
      <button type="button" class="button small plain" disabled=${busy} onClick=${() => giveUp(job)}>
        ${t('page.remote.cancel')}</button></span></li>`;
}

export function Remote() {
  const { at_provider: away = 0, processing, finished } = store.progress.value;
  useEffect(() => {
    loadRemote().catch(toastError);
  }, [away, processing, finished]);
  const jobs = store.remote.value;
  if (!jobs.length) return null;
  const elsewhere = jobs.filter((one) => one.project);
  const open = elsewhere.reduce((sum, one) => sum + Math.max(0, one.tasks - one.done - one.failed), away);
  return html`<section class="outcome remote"><header><${Icon} name="clock" />
      <h2>${t('page.remote.title', { count: open })}</h2><span class="muted">${t('page.remote.hint')}</span></header>
    <ul>${jobs.map((job) => html`<${Row} key=${job.id} job=${job} />`)}</ul></section>`;
}
