// Owns the debug log drawer: attempts as a time line, events as they came; live while the task runs.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { call } from '../api.js';
import { html, Icon, IconButton } from '../html.js';
import { clock, problemText, t } from '../i18n.js';
import { toast } from '../notices.js';
import * as store from '../store.js';

const AGAIN = 1000; // ms between looks at a running task
const KINDS = ['request', 'status', 'event', 'extracted', 'refused', 'error', 'retry'];
const ICON = {
  request: 'arrow-up',
  status: 'info',
  event: 'arrow-down',
  extracted: 'image',
  refused: 'ban',
  error: 'circle-x',
  retry: 'repeat-2',
};
const SHOWN = 400; // entries drawn at first

function useLog(id) {
  const [log, setLog] = useState(null);
  const [error, setError] = useState(null);
  const revision = store.taskSignal(id)?.value.revision;
  useEffect(() => {
    let timer = 0;
    let open = true;
    const look = async () => {
      try {
        const answer = await call('get_task_debug', { task_id: id });
        if (!open) return;
        setLog(answer);
        setError(null);
        if (answer.running ?? store.taskSignal(id)?.peek().status === 'processing') timer = setTimeout(look, AGAIN);
      } catch (failure) {
        if (open) setError(failure);
      }
    };
    look();
    return () => {
      open = false;
      clearTimeout(timer);
    };
  }, [id, revision]);
  return [log, error];
}

function dataText(entry) {
  if (entry.kind === 'event' && typeof entry.data?.data === 'string')
    return `${entry.data.name ?? ''} ${entry.data.data}`.trim();
  return typeof entry.data === 'string' ? entry.data : JSON.stringify(entry.data, null, 2);
}

function Entry({ entry, since }) {
  const text = dataText(entry);
  const long = text.length > 240 || text.includes('\n');
  return html`<li class=${`entry kind-${entry.kind}`}>
    <span class="entry-head"><${Icon} name=${ICON[entry.kind] ?? 'info'} size=${13} /><b>
      ${t(`page.log.kind.${entry.kind}`)}</b><time title=${clock(entry.at)}>+${(entry.at - since).toFixed(2)} s</time>
        </span>
    ${
      long
        ? html`<details open=${entry.kind !== 'event' && entry.kind !== 'request'}><summary class="mono">
      ${text.replace(/\s+/g, ' ').slice(0, 120)}…</summary><pre>${text}</pre></details>`
        : html`<code class="mono">
        ${text}</code>`
    }
  </li>`;
}

function Attempt({ number, entries }) {
  const since = entries[0].at;
  const status = entries.findLast((entry) => entry.kind === 'status')?.data?.status;
  const failed = entries.some((entry) => entry.kind === 'error');
  return html`<section class=${`attempt ${failed ? 'failed' : ''}`}><h3>
    ${t('page.log.attempt', { n: number })} <span class="muted">
      ${clock(since)}${status ? ` · HTTP ${status}` : ''} · ${(entries.at(-1).at - since).toFixed(1)} s</span></h3>
    <ol>${entries.map((entry, at) => html`<${Entry} key=${at} entry=${entry} since=${since} />`)}</ol></section>`;
}

function byAttempt(entries) {
  const groups = [];
  for (const entry of entries) {
    const last = groups.at(-1);
    if (
      last &&
      last.number === entry.attempt &&
      !(entry.kind === 'request' && last.entries.some((one) => one.kind === 'request'))
    )
      last.entries.push(entry);
    else groups.push({ number: entry.attempt, entries: [entry] });
  }
  return groups;
}

function Live({ id, log }) {
  const task = store.taskSignal(id)?.value;
  if (task?.status !== 'processing') return null;
  const now = store.live.value[id] ?? task.live;
  const preview = log?.preview;
  return html`<div class="live"><p><${Icon} name="loader"
    class="turning" /> ${t('page.status.processing')}${typeof now?.percent === 'number' ? ` ${now.percent}%` : ''}</p>
    <i class="mini-bar"><i style=${{ width: `${now?.percent ?? 0}%` }}></i></i>
    ${
      preview &&
      html`<img class="preview" alt=${t('page.log.preview')}
      src=${preview.startsWith('data:') || preview.startsWith('/') ? preview : `data:image/png;base64,${preview}`} />`
    }
        </div>`;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // no leave, or no clipboard in this window: the old way
    const area = Object.assign(document.createElement('textarea'), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  toast(t('page.copied'));
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  const link = Object.assign(document.createElement('a'), { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function DebugDrawer() {
  const id = store.debugTask.value;
  const [log, error] = useLog(id);
  const [query, setQuery] = useState('');
  const [kind, setKind] = useState('');
  const [all, setAll] = useState(false);
  const name = store.taskSignal(id)?.value.source_name ?? id;
  const close = () => {
    store.debugTask.value = null;
  };
  const body = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    body.current.focus();
    return () => before?.isConnected && before.focus({ preventScroll: true });
  }, []);
  const found = useMemo(
    () =>
      (log?.entries ?? []).filter(
        (entry) =>
          (!kind || entry.kind === kind) && (!query || dataText(entry).toLowerCase().includes(query.toLowerCase())),
      ),
    [log, kind, query],
  );
  const drawn = all ? found : found.slice(0, SHOWN);
  return html`<div class="drawer" role="dialog" aria-label=${t('page.log.of', { name })} onKeyDown=${(event) => {
    if (event.key === 'Escape') {
      event.stopPropagation();
      close();
    }
  }}>
    <div class="drawer-head"><h2 title=${name}>${t('page.log')} <bdi class="muted">${name}</bdi></h2>
      <${IconButton} icon="copy" label=${t('page.log.copy')} disabled=${!log?.debug_log}
        onClick=${() => copyText(log.debug_log)} />
      <${IconButton} icon="download" label=${t('page.log.download')} disabled=${!log?.debug_log}
        onClick=${() => download(`${id}.log`, log.debug_log)} />
      <${IconButton} icon="x" label=${t('page.close')} onClick=${close} /></div>
    <div class="drawer-tools"><label class="search"><span class="for-readers">${t('page.log.search')}</span>
      <${Icon} name="search" size=${14} /><input type="search" value=${query} placeholder=${t('page.log.search')}
        onInput=${(event) => setQuery(event.currentTarget.value)} /></label>
      <label><span class="for-readers">${t('page.log.kind')}</span>
        <select value=${kind} onChange=${(event) => setKind(event.currentTarget.value)}><option value="">
          ${t('page.log.all')}</option>${KINDS.map(
            (one) => html`<option key=${one} value=${one}>
            ${t(`page.log.kind.${one}`)}</option>`,
          )}</select></label></div>
    <div class="drawer-body" tabindex="0" ref=${body} role="region" aria-label=${t('page.log')}>
      <${Live} id=${id} log=${log} />
      ${error && html`<p class="note bad" role="alert">${problemText(error)}</p>`}
      ${log && !found.length && html`<p class="note">${t('page.log.nothing')}</p>`}
      ${byAttempt(drawn).map((one, at) => html`<${Attempt} key=${at} number=${one.number} entries=${one.entries} />`)}
      ${
        found.length > drawn.length &&
        html`<button type="button" class="button small" onClick=${() => setAll(true)}>
        ${t('page.andMore', { count: found.length - drawn.length })}</button>`
      }
    </div></div>`;
}
