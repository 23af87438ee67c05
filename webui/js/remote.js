// Owns what providers hold: the jobs and batches whose results are still to come, collected or given up.
import { call } from './api.js';
import { deed } from './deed.js';
import { t } from './i18n.js';
import { announce, ask, toast } from './notices.js';
import * as store from './store.js';

const OPEN = ['submitting', 'waiting', 'left'];

/** Reads what is still open. */
export async function loadRemote() {
  const stands = store.asked.remote();
  const { jobs } = await call('list_remote');
  if (stands()) store.remote.value = jobs.filter((one) => OPEN.includes(one.state));
}

/** Asks the provider now; nothing is paid for that. */
export const collect = (job) =>
  deed(`remote ${job.id}`, async () => {
    const { collecting } = await call('collect_remote', { id: job.id });
    announce(t(collecting ? 'page.remote.collecting' : 'page.remote.nothing'));
    await loadRemote();
  });

/** Gives a job up, after saying what is lost. */
export const giveUp = (job) =>
  deed(`remote ${job.id}`, async () => {
    const open = Math.max(1, job.tasks - job.done - job.failed);
    const lines = [t('page.remote.lost', { count: open }), t('page.remote.paid')];
    const title = t('page.remote.cancelTitle', { provider: job.provider });
    if (!(await ask({ title, lines, confirm: t('page.remote.cancel'), danger: true }))) return;
    const { cancelled } = await call('cancel_remote', { id: job.id });
    if (!cancelled) toast(t('page.remote.notCancelled'), { kind: 'error' });
    await loadRemote();
  });
