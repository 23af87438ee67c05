// Owns one pair in the list: source and results small, state, tick, drop, what went wrong.
import { useRef, useState } from 'preact/hooks';
import { isWindow, whyNot, withQuery } from '../api.js';
import { drop, kept, toggle } from '../decide.js';
import { html, Icon, IconButton } from '../html.js';
import { problemText, t } from '../i18n.js';
import { idAt } from '../list.js';
import { openReview } from '../reviewing.js';
import { deleteTask, retry, retryTaskWithPrompt } from '../run.js';
import { reveal, saveResult } from '../saving.js';
import { isSelected, selectTo, toggleSelected } from '../select.js';
import * as store from '../store.js';
import { openMenu } from './menu.js';
import { bestJudgement, ScoreTag } from './scores.js';

/** Height of a card beyond its pictures, in pixels; css/pairs.css says the same. */
export const CARD_CHROME = 86;

export const STATUS_ICON = {
  pending: 'circle-dashed',
  processing: 'loader',
  done: 'circle-check',
  partial_success: 'triangle-alert',
  failed: 'circle-x',
  stopped: 'octagon-pause',
};
const STEPS = [128, 256, 512];

function thumbUrl(url) {
  const pixels = store.thumbSize.value * Math.min(2, devicePixelRatio);
  return withQuery(url, { size: STEPS.find((step) => step >= pixels) ?? 512 });
}

/** A picture in a box of fixed size; where it does not load, the reason stands there. */
export function Thumb({ url, alt }) {
  const [why, setWhy] = useState(null);
  const asked = useRef(false);
  if (!asked.current && store.hurried.value) return null;
  asked.current = true;
  if (why !== null)
    return html`<span class="broken" role="img" aria-label=${alt} title=${why}><${Icon} name="image-off" />
      <span dir="auto">${why || t('page.picture.failed')}</span></span>`;
  return html`<img src=${url} alt=${alt} decoding="async" draggable=${false}
    onError=${() => whyNot(url).then(setWhy)} />`;
}

function ResultTile({ task, result, at, index, current, of }) {
  const name = t('page.result.name', { n: at + 1 });
  const tab = current ? 0 : -1;
  return html`<div class=${`tile ${result.deleted ? 'dropped' : result.selected ? 'ticked' : ''}`}>
    <button type="button" class="picture" tabindex=${tab} aria-label=${t('page.result.open', { name })}
      onClick=${() => openReview(index, result.id)}>
      <${Thumb} key=${result.thumbnail_url} url=${thumbUrl(result.thumbnail_url)} alt="" /></button>
    ${
      result.deleted
        ? html`<span class="dropped-mark">${t('page.dropped')}</span>
          <${IconButton} icon="rotate-ccw" class="corner right" tabindex=${tab}
            label=${t('page.result.restore', { name })} onClick=${() => drop(task, result)} />`
        : html`<${IconButton} icon=${result.selected ? 'square-check' : 'square'} class="corner left" tabindex=${tab}
          aria-pressed=${result.selected} label=${t('page.result.tick', { name })}
            onClick=${() => toggle(task, result)} />
        <${IconButton} icon="x" class="corner right quiet" tabindex=${tab} label=${t('page.result.drop', { name })}
          onClick=${() => drop(task, result)} />`
    }
    ${
      of > 0 &&
      html`<button type="button" class="pager" tabindex=${tab} title=${t('page.result.more', { count: of - at - 1 })}
        onClick=${() => openReview(index)}>${at + 1} / ${of}</button>`
    }
  </div>`;
}

function Waiting({ task }) {
  const now = store.live.value[task.id] ?? task.live;
  if (task.status !== 'processing')
    return html`<div class="tile waiting"><${Icon} name=${STATUS_ICON[task.status]} size=${20} /><span>
      ${t(`page.status.${task.status}`)}</span></div>`;
  const percent = now?.percent ?? null;
  return html`<div class="tile waiting"><${Icon} name="loader" size=${20} class="turning" />
    <span>${now?.stage ? stageText(now.stage) : t('page.status.processing')}${percent === null ? '' : ` ${percent}%`}
      </span>
    <i class="mini-bar"><i style=${{ width: `${percent ?? 0}%` }}></i></i></div>`;
}

const stageText = (stage) => {
  const text = t(`page.stage.${stage}`);
  return text.startsWith('page.') ? t('page.status.processing') : text;
};

function Failed({ task, current }) {
  return html`<div class="tile problem"><p dir="auto" title=${problemText(task.error)}>
    ${problemText(task.error) || t(`page.status.${task.status}`)}</p>
    <span class="problem-deeds">
      <button type="button" class="button small" tabindex=${current ? 0 : -1} onClick=${() => retry(task)}>
        ${t('page.retry.again')}</button>
      <button type="button" class="button small" tabindex=${current ? 0 : -1} title=${t('page.retry.withPrompt')}
        onClick=${() => retryTaskWithPrompt(task)}>${t('page.retry.prompt')}</button>
      ${task.has_debug_log && html`<${LogButton} task=${task} current=${current} />`}</span></div>`;
}

function LogButton({ task, current }) {
  const show = () => {
    store.debugTask.value = task.id;
  };
  return html`<button type="button" class="button small" tabindex=${current ? 0 : -1} onClick=${show}>
    ${t('page.log')}</button>`;
}

function taskMenu(event, task, index) {
  const ticked = kept(task);
  const busy = task.status === 'processing';
  openMenu(event.currentTarget, t('page.task.more', { name: task.source_name }), [
    { icon: 'eye', label: t('page.review'), run: () => openReview(index) },
    {
      icon: 'terminal',
      label: t('page.log'),
      disabled: !task.has_debug_log,
      run: () => {
        store.debugTask.value = task.id;
      },
    },
    {
      icon: 'save',
      label: t('page.save.this'),
      disabled: !ticked.length,
      run: () =>
        ticked.length === 1
          ? saveResult(task, ticked[0])
          : ticked.filter((one) => one.selected).forEach((one) => saveResult(task, one)),
    },
    isWindow() && { icon: 'folder-open', label: t('page.reveal'), run: () => reveal({ path: task.source_path }) },
    null,
    { icon: 'repeat-2', label: t('page.retry.keep'), disabled: busy, run: () => retry(task) },
    { icon: 'wrench', label: t('page.retry.withPrompt'), disabled: busy, run: () => retryTaskWithPrompt(task) },
    { icon: 'eraser', label: t('page.retry.clear'), disabled: busy, run: () => retry(task, true) },
    {
      icon: 'trash-2',
      label: t('page.task.delete'),
      danger: true,
      disabled: busy || store.running.value,
      run: () => deleteTask(task),
    },
  ]);
}

function pick(event, index, id) {
  if (!event.shiftKey && !event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  store.focusIndex.value = index;
  if (event.shiftKey) selectTo(index);
  else toggleSelected(index, id);
}

function Results({ task, index, current }) {
  const room = store.slots.value;
  if (!task.results.length) {
    return task.status === 'failed'
      ? html`<${Failed} task=${task} current=${current} />`
      : html`<${Waiting} task=${task} />`;
  }
  const shown = task.results.slice(0, room);
  const rest = task.results.length > room;
  return html`${shown.map(
    (result, at) => html`<${ResultTile} key=${result.id} task=${task} result=${result} at=${at} index=${index}
      current=${current} of=${rest && at === room - 1 ? task.results.length : 0} />`,
  )}`;
}

/** What the last check found wrong with these results, in words. */
export const findingsOf = (results) =>
  [...new Set(results.flatMap((one) => one.findings ?? []))]
    .map((kind) => t(`finding.${kind}`))
    .join(t('finding.separator'));

/** What made a picture: its prompt and model; before there is one, what the task will ask with. */
function Made({ task }) {
  const made = task.results.findLast((one) => one.prompt) ?? null;
  const prompt = made?.prompt ?? task.own_prompt ?? '';
  return html`<p class="made" title=${prompt} dir="auto"><span>${prompt}</span>
    ${made?.model && html`<bdi class="made-model">${made.model}</bdi>`}</p>`;
}

/** The line at the foot of a card: [icon, text], the worst first. */
function remark(task) {
  const neutral = task.status === 'stopped';
  if (task.error && (task.results.length || neutral)) return ['circle-x', problemText(task.error)];
  if (task.warning) return ['triangle-alert', problemText(task.warning)];
  const found = findingsOf(kept(task));
  return found ? ['list-checks', found] : null;
}

function Foot({ task }) {
  const told = remark(task);
  if (told && task.status === 'stopped') return html`<span class="muted" title=${told[1]} dir="auto">${told[1]}</span>`;
  if (told) return html`<${Icon} name=${told[0]} size=${13} /><span dir="auto" title=${told[1]}>${told[1]}</span>`;
  const first = kept(task)[0];
  if (!first) return null;
  const parts = [`${first.width}×${first.height}`];
  if (task.results.length > 1) parts.push(t('page.result.ticked', { count: task.selected_count }));
  if (task.results.some((one) => one.saved)) parts.push(t('page.saved'));
  return html`<span class="muted">${parts.join(' · ')}</span>`;
}

function tone(task) {
  if (task.status === 'stopped') return '';
  return task.error ? 'bad' : task.warning || findingsOf(kept(task)) ? 'warn' : '';
}

function Head({ task, index, current, selected }) {
  const tab = current ? 0 : -1;
  const state = t(`page.status.${task.status}`);
  const turning = task.status === 'processing' ? 'turning' : '';
  return html`<header><input type="checkbox" tabindex=${tab} aria-label=${t('page.select', { name: task.source_name })}
      checked=${selected} onChange=${() => toggleSelected(index, task.id)} />
    <bdi class="name" title=${task.source_path}>${task.source_name}</bdi>
    <${ScoreTag} judged=${bestJudgement(task.results)} />
    ${task.decided && html`<span class="judged" title=${t('page.judged')}><${Icon} name="check" size=${13} /></span>`}
    <span class=${`status ${task.status}`} title=${state}>
      <${Icon} name=${STATUS_ICON[task.status]} size=${14} class=${turning} /></span>
    <${IconButton} icon="ellipsis" size=${14} tabindex=${tab} aria-haspopup="menu"
      label=${t('page.task.more', { name: task.source_name })} onClick=${(event) => taskMenu(event, task, index)} />
    </header>`;
}

export function Card({ index, count }) {
  const id = idAt(index);
  const task = id && store.taskSignal(id)?.value;
  const current = store.focusIndex.value === index;
  if (!task) {
    return html`<div class="card empty" role="listitem" aria-setsize=${count} aria-posinset=${index + 1}
      aria-busy="true"></div>`;
  }
  const selected = isSelected(id);
  const focused = () => {
    store.focusIndex.value = index;
  };
  return html`<div class=${`card ${selected ? 'selected' : ''} ${current ? 'current' : ''}`} id=${`card-${index}`}
    role="listitem" data-status=${task.status} tabindex="-1" aria-setsize=${count} aria-posinset=${index + 1}
    aria-label=${`${task.source_name}, ${t(`page.status.${task.status}`)}`}
    onClickCapture=${(event) => pick(event, index, id)} onFocus=${focused}>
    <${Head} task=${task} index=${index} current=${current} selected=${selected} />
    <div class="pictures"><div class="tile source"><button type="button" class="picture" tabindex=${current ? 0 : -1}
        aria-label=${t('page.source.open')} onClick=${() => openReview(index)}>
        <${Thumb} key=${task.source_thumbnail_url} url=${thumbUrl(task.source_thumbnail_url)} alt="" /></button></div>
      <${Results} task=${task} index=${index} current=${current} /></div>
    <${Made} task=${task} /><footer class=${tone(task)}><${Foot} task=${task} /></footer></div>`;
}
