// Owns the drawer of training sets: preflight with its findings, the wishes of a set, export and report.
import { useLayoutEffect, useRef } from 'preact/hooks';
import { chooseFolder } from '../actions.js';
import { check, closeDataset, defaultReport, enterAllowed, enterSet, enterThreshold, exportSet, showInList, showKind, stopJob, untick, writeReport } from '../dataset.js';
import { html, Icon, IconButton } from '../html.js';
import { bytes, number, problemText, t } from '../i18n.js';
import * as store from '../store.js';
import { errorProps, FieldError } from './field.js';
import { PathField } from './input.js';

const running = () => store.job.value?.status === 'running';
const CUTTABLE = ['shifted', 'zoomed'];
/* a button that turned disabled would lose the focus to nowhere */
const unlessRunning = (run) => () => { if (!running()) run(); };

function Field({ name, label = name, children }) {
  return html`<div class="field"><label for=${`field-${name}`}>${t(`dataset.${label}`)}</label>${children}
    <p class="help" id=${`help-${name}`} hidden></p><${FieldError} name=${name} /></div>`;
}

function Text({ name, type = 'text', ...rest }) {
  return html`<${Field} name=${name}><input id=${`field-${name}`} type=${type} dir="auto" spellcheck="false" autocomplete="off" value=${store.setForm.value[name]} ...${errorProps(name)} ...${rest}
    onInput=${(event) => enterSet(name, event.currentTarget.value)} /><//>`;
}

function Choice({ name, choices, text = (one) => t(`dataset.${name}.${one}`) }) {
  const now = store.setForm.value[name];
  return html`<${Field} name=${name}><select id=${`field-${name}`} value=${now} ...${errorProps(name)} onChange=${(event) => enterSet(name, event.currentTarget.value)}>
    ${choices.map((one) => html`<option key=${one} value=${one} selected=${one === now}>${text(one)}</option>`)}</select><//>`;
}

function Check({ name, id = `field-${name}` }) {
  return html`<div class="field check"><label><input type="checkbox" id=${id} checked=${store.setForm.value[name]} onChange=${(event) => enterSet(name, event.currentTarget.checked)} /> ${t(`dataset.${name}`)}</label></div>`;
}

function Job() {
  const job = store.job.value;
  if (!job) return null;
  const result = job.result;
  if (job.status === 'running') {
    return html`<div class="job" role="status"><p><${Icon} name="loader" class="turning" />${t(`dataset.job.${job.kind}`)} ${number(job.done)}/${number(job.total)}</p>
      <i class="mini-bar"><i style=${{ width: `${job.total ? (job.done / job.total) * 100 : 0}%` }}></i></i>
      <button type="button" class="button small" onClick=${stopJob}><${Icon} name="square" size=${14} />${t('dataset.stop')}</button></div>`;
  }
  if (job.status === 'failed') return html`<p class="note bad" role="alert">${problemText(job.error)}</p>`;
  if (job.status === 'stopped') return html`<p class="note" role="status">${t('dataset.job.stopped')}</p>`;
  if (!result.path) return html`<p class="note" role="status">${t('dataset.checked', { pairs: result.pairs, bad: result.bad })}</p>`;
  return html`<p class="note good" role="status">${t('dataset.written')} <bdi>${result.path}</bdi> · ${t('dataset.writtenPairs', { count: result.pairs })}${result.bytes ? ` · ${bytes(result.bytes)}` : ''}${result.left_out ? ` · ${t('dataset.leftOutPairs', { count: result.left_out })}` : ''}</p>`;
}

const unitOf = (kind) => store.setChoices.value?.kinds.find((one) => one.id === kind)?.unit;

function amount(finding) {
  const unit = unitOf(finding.kind);
  if (!unit) return finding.problem ? problemText(finding.problem) : '';
  const say = (value) => t(`unit.${unit}`, { number: Number(value.toPrecision(3)) });
  const pixels = finding.pixels ? ` = ${t('dataset.pixels', { number: Number(finding.pixels.toPrecision(3)) })}` : '';
  return t('dataset.amount', { number: `${say(finding.number)}${pixels}`, limit: say(finding.threshold) });
}

/** What cutting would do for a shifted or zoomed pair. */
function cutText({ kind, box }) {
  if (!box || !CUTTABLE.includes(kind)) return '';
  const share = Math.round((box[2] - box[0]) * (box[3] - box[1]) * 100);
  return ` · ${t(store.setForm.value.crop_align ? 'dataset.willBeCut' : 'dataset.couldBeCut', { share })}`;
}

function Shown({ url, label, box }) {
  const at = box && { left: `${box[0] * 100}%`, top: `${box[1] * 100}%`, width: `${(box[2] - box[0]) * 100}%`, height: `${(box[3] - box[1]) * 100}%` };
  return html`<figure><span class="shown"><img src=${`${url}?size=256`} alt=${label} loading="lazy" />${at && html`<i class="cut" style=${at} title=${t('dataset.cut')}></i>`}</span><figcaption>${label}</figcaption></figure>`;
}

function Finding({ finding }) {
  return html`<li class="finding"><div class="finding-head"><b>${t(`finding.${finding.kind}`)}</b><bdi class="muted">${finding.source_name}</bdi>
      <button type="button" class="button small plain" onClick=${() => untick([finding])}>${t('dataset.untick')}</button></div>
    <p class="muted">${amount(finding)}${cutText(finding)}</p>
    <div class="finding-pictures"><${Shown} url=${finding.source_thumbnail_url} label=${t('dataset.source')} box=${finding.box} /><${Shown} url=${finding.result_thumbnail_url} label=${t('dataset.result')} />
      ${finding.other_source_url && html`<${Shown} url=${finding.other_source_url} label=${finding.other_name ?? t('dataset.source')} /><${Shown} url=${finding.other_result_url} label=${t('dataset.otherResult')} />`}</div></li>`;
}

function Findings() {
  const page = store.findings.value;
  const kind = store.findingKind.value;
  if (!page?.at) return html`<p class="muted">${t('dataset.notChecked')}</p>`;
  const kinds = Object.entries(page.counts).filter(([, count]) => count > 0);
  if (!kinds.length) return html`<p class="note good"><${Icon} name="circle-check" />${t('dataset.allGood', { count: page.pairs })}</p>`;
  return html`<div class="kinds" role="group" aria-label=${t('dataset.kinds')}>
      <button type="button" class="chip" aria-pressed=${kind === ''} onClick=${() => showKind('')}>${t('dataset.allKinds')}</button>
      ${kinds.map(([one, count]) => html`<button type="button" class="chip" key=${one} aria-pressed=${kind === one} onClick=${() => showKind(one)}>${t(`finding.${one}`)} ${number(count)}</button>`)}</div>
    <p class="finding-deeds"><span class="muted">${t('dataset.badPairs', { bad: page.bad, pairs: page.pairs })}</span>
      <span class="finding-buttons"><button type="button" class="button small" onClick=${() => showInList(kind)}>${t('dataset.showInList')}</button>
      <button type="button" class="button small" onClick=${() => untick(page.findings)}>${t('dataset.untickShown', { count: page.findings.length })}</button></span></p>
    ${CUTTABLE.some((one) => page.counts[one] && (kind === '' || kind === one)) && html`<div class="offer"><${Check} name="crop_align" id="offer-crop_align" /></div>`}
    <ul class="findings">${page.findings.map((one) => html`<${Finding} key=${`${one.result_id} ${one.kind}`} finding=${one} />`)}</ul>
    ${page.total > page.findings.length && html`<p class="muted">${t('page.andMore', { count: page.total - page.findings.length })}</p>`}`;
}

function Thresholds({ choices }) {
  const given = store.setForm.value.thresholds;
  return html`<details class="thresholds"><summary>${t('dataset.thresholds')}</summary><div class="grid">
    ${choices.thresholds.map((one) => html`<div class="field" key=${one.name}><label for=${`field-${one.name}`}>${t(`finding.${one.name}`)}</label>
      <input id=${`field-${one.name}`} type="number" step="any" min=${one.minimum} max=${one.maximum} placeholder=${one.default} value=${given[one.name] ?? ''} ...${errorProps(one.name)} onInput=${(event) => enterThreshold(one.name, event.currentTarget.value)} />
      <p class="help" id=${`help-${one.name}`} hidden></p><${FieldError} name=${one.name} /></div>`)}</div></details>`;
}

/** Kinds of findings that are no reason to refuse a pair: those that were found, and those that are chosen already. */
function Allowed({ choices }) {
  const { allow } = store.setForm.value;
  const found = store.findings.value?.counts ?? {};
  const kinds = choices.kinds.filter((one) => !one.note && (found[one.id] || allow.includes(one.id)));
  if (!kinds.length) return null;
  return html`<fieldset class="allowed"><legend>${t('dataset.allow')}</legend>${kinds.map(({ id }) => html`<label key=${id}>
    <input type="checkbox" checked=${allow.includes(id)} onChange=${(event) => enterAllowed(id, event.currentTarget.checked)} /> ${t(`finding.${id}`)} ${found[id] ? number(found[id]) : ''}</label>`)}</fieldset>`;
}

function Wishes({ choices }) {
  const form = store.setForm.value;
  const choose = async () => {
    const path = await chooseFolder(form.output_dir || store.outputDir.peek());
    if (path) enterSet('output_dir', path);
  };
  const titles = Object.fromEntries(choices.trainers.map((one) => [one.id, one.title]));
  return html`<div class="grid">
      <${Choice} name="trainer" choices=${choices.trainers.map((one) => one.id)} text=${(one) => titles[one]} /><${Text} name="name" maxlength="100" />
      <${Choice} name="caption_mode" choices=${choices.caption_modes} /><${Text} name="trigger" />
      ${form.caption_mode === 'template' && html`<${Text} name="caption_template" />`}
      <${Choice} name="picture_format" choices=${choices.picture_formats} />
      ${['jpeg', 'webp'].includes(form.picture_format) && html`<${Text} name="quality" type="number" min="1" max="100" />`}
      <${Choice} name="size_rule" choices=${choices.size_rules} />
      ${['multiple', 'longest'].includes(form.size_rule) && html`<${Text} name="size_value" type="number" min="2" max="16384" />`}
      <${Text} name="stem_template" /><${Text} name="validation" type="number" min="0" max="90" /><${Text} name="seed" type="number" /></div>
    <${PathField} name="set_output_dir" label=${t('dataset.output')} value=${form.output_dir} onInput=${(path) => enterSet('output_dir', path)} recent=${store.recentOutputs.value} choose=${choose} />
    ${store.filtered.value && html`<${Check} name="only_filtered" />`}<${Check} name="only_selected" /><${Check} name="first_only" /><${Check} name="crop_align" /><${Check} name="as_zip" /><${Check} name="leave_out" /><${Allowed} choices=${choices} />
    <button type="button" class="button primary" aria-disabled=${running()} onClick=${unlessRunning(exportSet)}><${Icon} name="save-all" />${t('dataset.export')}</button>`;
}

export function DatasetDrawer() {
  const choices = store.setChoices.value;
  const body = useRef(null);
  useLayoutEffect(() => {
    const before = document.activeElement;
    body.current.focus();
    return () => before?.isConnected && before.focus({ preventScroll: true });
  }, []);
  return html`<div class="drawer dataset" role="dialog" aria-label=${t('dataset.title')} onKeyDown=${(event) => { if (event.key === 'Escape') { event.stopPropagation(); closeDataset(); } }}>
    <div class="drawer-head"><h2>${t('dataset.title')}</h2><${IconButton} icon="x" label=${t('page.close')} onClick=${closeDataset} /></div>
    <div class="drawer-body" tabindex="0" ref=${body} role="region" aria-label=${t('dataset.title')}>
      <${Job} />
      ${choices && html`<section><h3>${t('dataset.preflight')}</h3>
        ${choices.extra && html`<p class="note"><${Icon} name="info" />${problemText(choices.extra)}</p>`}
        <button type="button" class="button" aria-disabled=${running()} onClick=${unlessRunning(check)}><${Icon} name="list-checks" />${t('dataset.check')}</button>
        <${Thresholds} choices=${choices} /><${Findings} /></section>
      <section><h3>${t('dataset.set')}</h3><${Wishes} choices=${choices} /></section>
      <section><h3>${t('dataset.report')}</h3>
        <${Field} name="path" label="reportFile"><input id="field-path" type="text" dir="auto" spellcheck="false" autocomplete="off" placeholder=${defaultReport()} value=${store.setForm.value.report} ...${errorProps('path')} onInput=${(event) => enterSet('report', event.currentTarget.value)} /><//>
        <div class="grid"><${Text} name="report_price" type="number" min="0" step="any" placeholder=${store.config.value.price_per_call ?? 0} /></div>
        <button type="button" class="button" aria-disabled=${running()} onClick=${unlessRunning(writeReport)}><${Icon} name="file-text" />${t('dataset.writeReport')}</button></section>`}
    </div></div>`;
}
