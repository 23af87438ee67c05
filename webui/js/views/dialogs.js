// Owns the one dialog at a time: questions, a text to enter, the folder picker, the list of keys, errors of saving.
import { useLayoutEffect, useRef } from 'preact/hooks';
import { html, IconButton } from '../html.js';
import { problemText, t } from '../i18n.js';
import { KeyRows, LIST_KEYS, REVIEW_KEYS } from '../keys.js';
import * as store from '../store.js';
import { FolderPicker } from './folders.js';

function Confirm({ dialog, done }) {
  return html`${dialog.lines.map((line) => html`<p key=${line}>${line}</p>`)}
    <div class="dialog-deeds"><button type="button" class="button" onClick=${() => done(false)}>${t('page.cancel')}</button>
      <button type="button" class=${`button ${dialog.danger ? 'danger' : 'primary'}`} autofocus onClick=${() => done(true)}>${dialog.confirm}</button></div>`;
}

function TextEntry({ dialog, done }) {
  const submit = (event) => {
    event.preventDefault();
    done(new FormData(event.currentTarget).get('text'));
  };
  return html`<form onSubmit=${submit}><div class="field"><label for="dialog-text">${dialog.label}</label>
      <input id="dialog-text" name="text" type="text" defaultValue=${dialog.value} autocomplete="off" required maxlength="200" autofocus dir="auto" /></div>
    <div class="dialog-deeds"><button type="button" class="button" onClick=${() => done(null)}>${t('page.cancel')}</button><button class="button primary">${dialog.confirm}</button></div></form>`;
}

function Keys() {
  return html`<div class="keys-columns" tabindex="0" role="group" aria-label=${t('page.keys')}><table><caption>${t('page.keys.review')}</caption><tbody><${KeyRows} keys=${REVIEW_KEYS} t=${t} /></tbody></table>
    <table><caption>${t('page.keys.list')}</caption><tbody><${KeyRows} keys=${LIST_KEYS} t=${t} /></tbody></table></div>`;
}

function SaveErrors({ answer }) {
  return html`<p>${t('page.save.saved', { count: answer.saved_count })}</p>
    <ul class="error-list" tabindex="0" aria-label=${t('page.save.errors', { count: answer.error_count })}>${answer.errors.map((one, at) => html`<li key=${at} dir="auto">${typeof one === 'string' ? one : `${one.source_name ?? ''} ${problemText(one.problem ?? one.error ?? one)}`}</li>`)}
    ${answer.error_count > answer.errors.length && html`<li class="muted">${t('page.andMore', { count: answer.error_count - answer.errors.length })}</li>`}</ul>`;
}

function content(dialog, done) {
  if (dialog.kind === 'confirm') return [dialog.title, html`<${Confirm} dialog=${dialog} done=${done} />`];
  if (dialog.kind === 'text') return [dialog.title, html`<${TextEntry} dialog=${dialog} done=${done} />`];
  if (dialog.kind === 'folders') return [t('page.folders.title'), html`<${FolderPicker} start=${dialog.start} done=${done} />`];
  if (dialog.kind === 'keys') return [t('page.keys'), html`<${Keys} />`];
  return [t('page.save.errors', { count: dialog.answer.error_count }), html`<${SaveErrors} answer=${dialog.answer} />`];
}

export function Dialogs() {
  const box = useRef(null);
  const dialog = store.dialog.value;
  const done = (answer) => {
    if (store.dialog.peek() !== dialog) return;
    store.dialog.value = null;
    dialog.resolve(answer);
  };
  useLayoutEffect(() => {
    if (!dialog) return undefined;
    const before = document.activeElement;
    const escape = (event) => { // also when it is pressed before the focus is here
      if (event.key !== 'Escape') return;
      event.preventDefault();
      event.stopPropagation();
      done(null);
    };
    box.current.showModal();
    addEventListener('keydown', escape, true);
    return () => {
      removeEventListener('keydown', escape, true);
      before?.focus?.();
    };
  }, [dialog]);
  if (!dialog) return null;
  const [title, body] = content(dialog, done);
  return html`<dialog class=${`dialog ${dialog.kind}`} ref=${box} aria-labelledby="dialog-title" onCancel=${(event) => { event.preventDefault(); done(null); }}>
    <header><h2 id="dialog-title" dir="auto">${title}</h2><${IconButton} icon="x" label=${t('page.close')} onClick=${() => done(null)} /></header>
    <div class="dialog-body">${body}</div></dialog>`;
}
