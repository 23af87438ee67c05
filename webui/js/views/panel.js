// Owns what stands beside the pictures of a review: the judge's view, what was measured, the prompt, the caption.
import { useEffect, useRef, useState } from 'preact/hooks';
import { html, Icon } from '../html.js';
import { oneDigit, t } from '../i18n.js';
import { saveCaption } from '../judging.js';
import { keyLabel } from '../keymap.js';
import { retryTaskWithPrompt } from '../run.js';
import * as store from '../store.js';
import { findingsOf } from './card.js';
import { CriteriaBars, scoreText } from './scores.js';

function Judged({ result, n }) {
  const judged = result?.judgement;
  if (!judged) return null;
  const pass = store.judge.value?.pass_score ?? 7;
  const swapped = judged.disagreement;
  return html`<section class="panel-part"><header><h3><${Icon} name="scale" size=${14} />
      ${t('page.judge.of', { n })}</h3><bdi class="muted small" title=${judged.rubric}>${judged.model}</bdi></header>
    <div class="judged-box"><b class=${`score-number big ${judged.passed ? '' : 'low'}`}>${scoreText(judged.score)}</b>
      <${CriteriaBars} scores=${judged.scores} pass=${pass} /></div>
    <p dir="auto">${judged.reason}</p>
    ${
      swapped !== null && html`<p class="muted small">${t('page.judge.swapped', { number: oneDigit(swapped) })}</p>`
    }</section>`;
}

function Checked({ result }) {
  const found = result && findingsOf([result]);
  if (!found) return null;
  return html`<section class="panel-part"><header><h3><${Icon} name="list-checks" size=${14} />${t('page.panel.check')}
    </h3></header><p class="warn">${found}</p></section>`;
}

/** The prompt that made the result, from its own provenance; before there is one, what the task asks with. */
function Prompt({ task, result }) {
  const made = result?.prompt;
  const text = made || task.own_prompt || store.config.value.user_prompt || t('page.prompt.none');
  const show = () => {
    store.debugTask.value = task.id;
  };
  return html`<section class="panel-part prompt-box" aria-label=${t('config.user_prompt.label')}>
    <header><h3>${t(made ? 'page.prompt.made' : 'page.prompt.used')}</h3></header>
    <p dir="auto">${text}</p><p class="muted small"><bdi>${result?.model || store.config.value.model_name}</bdi></p>
    <p class="panel-deeds"><button type="button" class="link" onClick=${() => retryTaskWithPrompt(task)}>
        ${t('page.retry.withPrompt')}</button>
      ${task.has_debug_log && html`<button type="button" class="link" onClick=${show}>${t('page.log')}</button>`}</p>
      </section>`;
}

/** A caption as typed is kept when the field is left; Escape gives it up. */
function Caption({ task, result }) {
  const [text, setText] = useState(null); // null: as it is stored
  const box = useRef(null);
  const stored = result.caption ?? '';
  useEffect(() => setText(null), [result.id]);
  const keep = () => {
    if (text !== null && text.trim() !== stored) saveCaption(task, result, text);
    setText(null);
  };
  const key = (event) => {
    if (event.key === 'Escape') setText(null);
    else if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === 'Enter') keep();
    document.querySelector('.review').focus();
  };
  const written = stored && !result.caption_seen;
  return html`<section class="panel-part"><header><h3><label for="caption">${t('page.caption')}</label></h3>
      ${
        written &&
        html`<span class="tag-warn">${t('page.caption.unseen')}</span>
        <button type="button" class="link" onClick=${() => saveCaption(task, result, stored)}>${t('page.caption.seen')}
          </button>`
      }</header>
    <textarea id="caption" ref=${box} rows="4" dir="auto" maxlength="4000" placeholder=${t('page.caption.none')}
      value=${text ?? stored} onInput=${(event) => setText(event.currentTarget.value)} onBlur=${keep} onKeyDown=${key}>
    </textarea><p class="muted small key-hints">
      <span><kbd>${keyLabel('review', 'caption')}</kbd> ${t('page.caption.edit')}</span>
      <span><kbd>Ctrl Enter</kbd> ${t('page.caption.keep')}</span><span><kbd>Esc</kbd> ${t('page.cancel')}</span></p>
      </section>`;
}

/** Opens the panel where it is closed, and goes to the caption. */
export function toCaption() {
  store.panelOpen.value = true;
  requestAnimationFrame(() => document.getElementById('caption')?.focus());
}

export function Panel({ task, result, n }) {
  return html`<aside class="review-panel" tabindex="0" aria-label=${t('page.panel')}>
    <${Judged} result=${result} n=${n} /><${Checked} result=${result} />
    <${Prompt} task=${task} result=${result} />
    ${result && html`<${Caption} key=${result.id} task=${task} result=${result} />`}</aside>`;
}
