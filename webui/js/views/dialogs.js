// Owns the one dialog at a time: questions, a text to enter, another prompt, folders, projects, keys, errors of saving.
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { html, Icon, IconButton } from '../html.js';
import { dateTime, number, problemText, t } from '../i18n.js';
import { COMMANDS, KEYMAPS, PLACES, shownKeys } from '../keymap.js';
import {
  archiveProject,
  createProject,
  deleteProject,
  exportProject,
  importProject,
  openProject,
  relocateProject,
  renameProject,
} from '../projects.js';
import { costOf } from '../run.js';
import * as store from '../store.js';
import { Costs } from './costs.js';
import { FolderPicker } from './folders.js';
import { Calibration, Captions, Compare, Intention, Rounds, Score, Untick } from './judging.js';
import { ColumnEntry, Library } from './prompts.js';

function Deeds({ done, cancel, children }) {
  return html`<div class="dialog-deeds"><button type="button" class="button" onClick=${() => done(cancel)}>
    ${t('page.cancel')}</button>${children}</div>`;
}

/** Texts that are sent, each with what it is. */
function Prompts({ prompts }) {
  return html`<div class="prompts">${prompts.map(
    ({ label, text }) => html`<section key=${label} tabindex="0" aria-label=${label}><b>${label}</b>
      <p dir="auto">${text}</p></section>`,
  )}</div>`;
}

function Confirm({ dialog, done }) {
  return html`${dialog.lines.map((line) => html`<p key=${line}>${line}</p>`)}
    ${dialog.prompts.length > 0 && html`<${Prompts} prompts=${dialog.prompts} />`}
    <${Deeds} done=${done} cancel=${false}>
      <button type="button" class=${`button ${dialog.danger ? 'danger' : 'primary'}`} autofocus
        onClick=${() => done(true)}>${dialog.confirm}</button><//>`;
}

const entered = (event, done) => {
  event.preventDefault();
  done(new FormData(event.currentTarget).get('text'));
};

function TextEntry({ dialog, done }) {
  return html`<form onSubmit=${(event) => entered(event, done)}><div class="field">
      <label for="dialog-text">${dialog.label}</label>
      <input id="dialog-text" name="text" type="text" defaultValue=${dialog.value} autocomplete="off" required
        maxlength="200" autofocus dir="auto" /></div>
    <${Deeds} done=${done} cancel=${null}><button class="button primary">${dialog.confirm}</button><//></form>`;
}

/** A folder to save into, where none was given before. */
function Output({ done }) {
  const recent = store.recentOutputs.value;
  return html`<form onSubmit=${(event) => entered(event, done)}><div class="field">
      <label for="dialog-text">${t('page.save.output_dir')}</label>
      <input id="dialog-text" name="text" type="text" list="recent-dialog" autocomplete="off" required autofocus
        dir="auto" /><datalist id="recent-dialog">${recent.map((one) => html`<option key=${one} value=${one} />`)}
      </datalist></div><p class="muted small">${t('page.save.outputRequired')}</p>
    <${Deeds} done=${done} cancel=${null}><button class="button primary">${t('page.ok')}</button><//></form>`;
}

/** Another prompt beside the one before; what it costs, and with which connection. */
function PromptEntry({ dialog, done }) {
  const [text, setText] = useState(dialog.before);
  const same = text.trim() === dialog.before.trim();
  const cost = costOf(dialog.count, dialog.config);
  return html`<form onSubmit=${(event) => entered(event, done)}><div class="prompt-columns">
      <section><b>${t('page.prompt.before')}</b><p dir="auto">${dialog.before || t('page.prompt.none')}</p></section>
      <div class="field"><label for="dialog-prompt">${t('page.prompt.next')}</label>
        <textarea id="dialog-prompt" name="text" rows="6" required autofocus dir="auto" value=${text}
          onInput=${(event) => setText(event.currentTarget.value)}></textarea></div></div>
    <p class="small muted"><bdi>${dialog.config.model_name}</bdi> · <bdi>${dialog.config.api_url}</bdi></p>
    <p class="small">${t('page.retry.callsAgain', { count: dialog.count })}${cost && ` ${cost}`}
      ${same && html` <span class="muted">${t('page.prompt.same')}</span>`}</p>
    <${Deeds} done=${done} cancel=${null}><button class="button primary" disabled=${!text.trim()}>
      ${t('page.retry.send', { count: dialog.count })}</button><//></form>`;
}

function KeyTable({ where }) {
  const rows = COMMANDS.filter((one) => one.where === where && one.id !== 'closeLog');
  const known = rows.filter((one) => one.id !== 'projects' || store.projects.value);
  return html`<table><caption>${t(`page.keys.${where}`)}</caption><tbody>${known.map(
    (one) =>
      html`<tr key=${one.id}><td class="keys-cell">${shownKeys(one).map((names, at) =>
        names[0] === '–'
          ? html`<span key=${at}> – </span>`
          : names.map((name) => html`<kbd key=${`${at} ${name}`}>${name}</kbd>`),
      )}</td><td>${t(`page.key.${one.id}`)}</td></tr>`,
  )}</tbody></table>`;
}

function Keys() {
  const goOn = (event) => {
    store.rejectGoesOn.value = event.currentTarget.checked;
  };
  const choose = (event) => {
    store.keymap.value = event.currentTarget.value;
  };
  return html`<div class="keys-choices"><label>${t('page.keymap')} <select value=${store.keymap.value}
    onChange=${choose}>
      ${KEYMAPS.map(
        (one) => html`<option key=${one} value=${one} selected=${one === store.keymap.value}>
          ${t(`page.keymap.${one}`)}</option>`,
      )}</select></label>
    <label><input type="checkbox" checked=${store.rejectGoesOn.value} onChange=${goOn} /> ${t('page.keys.rejectGoesOn')}
    </label></div>
    <div class="keys-columns" tabindex="0" role="group" aria-label=${t('page.keys')}>
      ${PLACES.toReversed().map((where) => html`<${KeyTable} key=${where} where=${where} />`)}</div>`;
}

function SaveErrors({ answer }) {
  const rest = answer.error_count - answer.errors.length;
  const said = (one) =>
    typeof one === 'string' ? one : `${one.source_name ?? ''} ${problemText(one.problem ?? one.error ?? one)}`;
  return html`<p>${t('page.save.saved', { count: answer.saved_count })}</p>
    <ul class="error-list" tabindex="0" aria-label=${t('page.save.errors', { count: answer.error_count })}>
      ${answer.errors.map((one, at) => html`<li key=${at} dir="auto">${said(one)}</li>`)}
      ${rest > 0 && html`<li class="muted">${t('page.andMore', { count: rest })}</li>`}</ul>`;
}

const MOST_PROJECTS = 60; // drawn at once; the search finds the others

function ProjectRow({ one, current, done }) {
  const chosen = () => {
    done(null);
    openProject(one.id);
  };
  return html`<li><button type="button" class="choice" aria-current=${current} onClick=${chosen}>
      <span><b><bdi>${one.name}</bdi></b> <span class="muted">
        ${t('page.list.count', { count: one.task_count })}
        ${one.decided > 0 && ` · ${t('page.judged')} ${number(one.decided)}`}</span><br />
        <bdi class="muted small">${one.input_path}</bdi></span>
      ${one.archived && html`<span class="tag">${t('page.project.archived')}</span>`}
      <span class="muted small">${one.last_used ? dateTime(one.last_used) : ''}</span></button>
    <${IconButton} icon="pencil" label=${`${t('page.project.rename')}: ${one.name}`}
      onClick=${() => renameProject(one.id)} />
    <${IconButton} icon=${one.archived ? 'archive-restore' : 'archive'} disabled=${current || one.id === 'default'}
      label=${`${t(one.archived ? 'page.project.unarchive' : 'page.project.archive')}: ${one.name}`}
      onClick=${() => archiveProject(one.id, !one.archived)} />
    <${IconButton} icon="trash-2" label=${`${t('page.delete.do')}: ${one.name}`}
      disabled=${current || one.id === 'default'}
      onClick=${() => deleteProject(one.id)} /></li>`;
}

function Projects({ done }) {
  const [words, setWords] = useState('');
  const [sources, setSources] = useState(false);
  const { current, projects } = store.projects.value;
  const needle = words.trim().toLowerCase();
  const [all, setAll] = useState(false);
  const named = projects.filter((one) => `${one.name} ${one.input_path}`.toLowerCase().includes(needle));
  const away = named.filter((one) => one.archived && one.id !== current);
  const shown = needle || all;
  const found = [...named.filter((one) => !away.includes(one)), ...(shown ? away : [])];
  return html`<label class="search wide"><span class="for-readers">${t('page.project.search')}</span>
      <${Icon} name="search" size=${14} /><input type="search" autofocus placeholder=${t('page.project.search')}
        value=${words} onInput=${(event) => setWords(event.currentTarget.value)} /></label>
    <ul class="projects" tabindex="0" aria-label=${t('page.projects')}>${found
      .slice(0, MOST_PROJECTS)
      .map((one) => html`<${ProjectRow} key=${one.id} one=${one} current=${one.id === current} done=${done} />`)}
      ${!found.length && html`<li class="muted">${t('page.project.none')}</li>`}
      ${
        found.length > MOST_PROJECTS &&
        html`<li class="muted">${t('page.andMore', { count: found.length - MOST_PROJECTS })}</li>`
      }
      ${
        !shown &&
        away.length > 0 &&
        html`<li><button type="button" class="link" onClick=${() => setAll(true)}>
          ${t('page.project.showArchived', { count: away.length })}</button></li>`
      }</ul>
    <div class="dialog-deeds project-deeds">
      <button type="button" class="button" disabled=${store.working.value} onClick=${relocateProject}>
        <${Icon} name="search" />${t('page.project.relocate')}</button>
      <button type="button" class="button" onClick=${() => exportProject(sources)}>
        <${Icon} name="download" />${t('page.project.export')}</button>
      <label class="check"><input type="checkbox" checked=${sources}
        onChange=${(event) => setSources(event.currentTarget.checked)} /> ${t('page.project.withSources')}</label>
      <button type="button" class="button" onClick=${importProject}>
        <${Icon} name="upload" />${t('page.project.import')}</button>
      <button type="button" class="button primary" onClick=${createProject}>
      <${Icon} name="plus" />${t('page.project.new')}</button></div>`;
}

/** The title of what a menu opened: its words without the dots. */
const titled = (key) => () => t(key).replace(/…$/, '');

const KINDS = {
  confirm: [(dialog) => dialog.title, Confirm],
  text: [(dialog) => dialog.title, TextEntry],
  prompt: [(dialog) => t('page.retry.title', { count: dialog.count }), PromptEntry],
  output: [() => t('page.save.choose'), Output],
  folders: [(dialog) => t(dialog.files ? 'page.plan.chooseTable' : 'page.folders.title'), FolderPicker],
  projects: [() => t('page.projects'), Projects],
  library: [() => t('page.trial.library'), Library],
  column: [({ column }) => t('page.trial.editColumn', { n: column.name }), ColumnEntry],
  score: [titled('page.judge.score'), Score],
  untick: [titled('page.judge.untick'), Untick],
  rounds: [titled('page.judge.askAgain'), Rounds],
  captions: [titled('page.caption.write'), Captions],
  compare: [titled('page.judge.compare'), Compare],
  intention: [titled('page.prompts.write'), Intention],
  calibration: [titled('page.judge.calibration'), Calibration],
  costs: [() => t('page.costs'), Costs],
  keys: [() => t('page.keys'), Keys],
  saveErrors: [
    (dialog) => t('page.save.errors', { count: dialog.answer.error_count }),
    ({ dialog }) => html`<${SaveErrors} answer=${dialog.answer} />`,
  ],
};

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
    const escape = (event) => {
      // also when it is pressed before the focus is here
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
  const [title, View] = KINDS[dialog.kind];
  const cancel = (event) => {
    event.preventDefault();
    done(null);
  };
  return html`<dialog class=${`dialog ${dialog.kind}`} ref=${box} aria-labelledby="dialog-title" onCancel=${cancel}>
    <header><h2 id="dialog-title" dir="auto">${title(dialog)}</h2>
      <${IconButton} icon="x" label=${t('page.close')} onClick=${() => done(null)} /></header>
    <div class="dialog-body"><${View} dialog=${dialog} done=${done} /></div></dialog>`;
}
