// Owns the place Set: what the check found and is decided about it, what a set is to be, and saving and the report.
import { useEffect, useRef } from 'preact/hooks';
import { withQuery } from '../api.js';
import { fieldId } from '../form.js';
import { html, Icon } from '../html.js';
import { bytes, capital, duration, has, number, oneDigit, problemText, t } from '../i18n.js';
import { chooseRule, saveAll } from '../saving.js';
import {
  allowKind,
  check,
  defaultReport,
  enterThreshold,
  exportSet,
  openSets,
  showInList,
  showKind,
  stopJob,
  untick,
  writeReport,
} from '../sets.js';
import * as store from '../store.js';
import { Field, Fields, Fold } from './form.js';

const CUTTABLE = ['shifted', 'zoomed'];
const running = () => store.job.value?.status === 'running';
/* a button that turned disabled would lose the focus to nowhere */
const unlessRunning = (run) => () => {
  if (!running()) run();
};

function JobDeed({ icon, text, run, primary = false }) {
  return html`<button type="button" class=${`button ${primary ? 'primary' : ''}`} aria-disabled=${running()}
    onClick=${unlessRunning(run)}><${Icon} name=${icon} />${text}</button>`;
}

/** How fast a job goes and how long it will take, once that is known. */
function pace({ kind, rate_per_minute: rate, seconds_left: left }) {
  const parts = [];
  if (rate > 0 && !kind.startsWith('project_')) parts.push(t('dataset.rate', { rate: oneDigit(rate) }));
  if (typeof left === 'number') parts.push(t('page.run.left', { time: duration(left) }));
  return parts.map((one) => ` · ${one}`).join('');
}

/** How the last job ended, or how far it is. */
function Job() {
  const job = store.job.value;
  if (!job) return null;
  const { result } = job;
  if (job.status === 'running') {
    const share = { width: `${job.total ? (job.done / job.total) * 100 : 0}%` };
    return html`<div class="job" role="status"><p><${Icon} name="loader" class="turning" />
      ${t(`dataset.job.${job.kind}`)}
        ${' '}${number(job.done)}/${number(job.total)}${pace(job)}</p><i class="mini-bar"><i style=${share}></i></i>
      <button type="button" class="button small" onClick=${stopJob}><${Icon} name="square" size=${14} />
        ${t('dataset.stop')}</button></div>`;
  }
  if (job.status === 'failed') return html`<p class="note bad" role="alert">${problemText(job.error)}</p>`;
  if (job.status === 'stopped') return html`<p class="note" role="status">${t('dataset.job.stopped')}</p>`;
  if (job.kind.startsWith('project_')) return html`<p class="note good" role="status">${t('dataset.job.done')}</p>`;
  if (!result.path) {
    return html`<p class="note" role="status">${t('dataset.checked', { pairs: result.pairs, bad: result.bad })}</p>`;
  }
  const parts = [t('dataset.writtenPairs', { count: result.pairs })];
  if (result.bytes) parts.push(bytes(result.bytes));
  if (result.left_out) parts.push(t('dataset.leftOutPairs', { count: result.left_out }));
  return html`<p class="note good" role="status">${t('dataset.written')} <bdi>${result.path}
    </bdi> · ${parts.join(' · ')}
    </p>`;
}

const unitOf = (kind) => store.setChoices.value?.kinds.find((one) => one.id === kind)?.unit;
const isNote = (kind) => store.setChoices.value?.kinds.find((one) => one.id === kind)?.note ?? false;

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
  return ` · ${t(store.forms.set.value.crop_align ? 'dataset.willBeCut' : 'dataset.couldBeCut', { share })}`;
}

/** Where a result changed outside the edit: a map of 32 by 24 bytes, row by row, laid over it. */
function DriftMap({ map }) {
  const canvas = useRef(null);
  useEffect(() => {
    const pen = canvas.current.getContext('2d');
    const drawn = pen.createImageData(32, 24);
    [...atob(map)].forEach((one, at) => drawn.data.set([200, 55, 45, one.charCodeAt(0)], at * 4));
    pen.putImageData(drawn, 0, 0);
  }, [map]);
  return html`<canvas ref=${canvas} width="32" height="24" class="drift" role="img" title=${t('dataset.map')}
    aria-label=${t('dataset.map')}></canvas>`;
}

function Shown({ url, label, box, map }) {
  const at = box && {
    left: `${box[0] * 100}%`,
    top: `${box[1] * 100}%`,
    width: `${(box[2] - box[0]) * 100}%`,
    height: `${(box[3] - box[1]) * 100}%`,
  };
  return html`<figure><span class="shown"><img src=${withQuery(url, { size: 256 })} alt=${label} loading="lazy" />
    ${at && html`<i class="cut" style=${at} title=${t('dataset.cut')}></i>`}
    ${map && html`<${DriftMap} map=${map} />`}</span>
    <figcaption>${label}</figcaption></figure>`;
}

function Finding({ finding }) {
  const other = finding.other_source_url;
  return html`<li class="finding"><div class="finding-head"><b>${capital(t(`finding.${finding.kind}`))}</b>
      <bdi class="muted">${finding.source_name}</bdi>
      <button type="button" class="button small plain" onClick=${() => untick([finding])}>${t('dataset.untick')}
        </button>
      </div><p class="muted">${amount(finding)}${cutText(finding)}</p>
    <div class="finding-pictures">
      <${Shown} url=${finding.source_thumbnail_url} label=${t('dataset.source')} box=${finding.box} />
      <${Shown} url=${finding.result_thumbnail_url} label=${t('dataset.result')} map=${finding.map} />
      ${
        other &&
        html`<${Shown} url=${other} label=${finding.other_name ?? t('dataset.source')} />
        <${Shown} url=${finding.other_result_url} label=${t('dataset.otherResult')} />`
      }</div></li>`;
}

/** How far a finding is from its threshold, whichever side is the bad one; what has none is worst. */
function excess({ number: found, threshold }) {
  const times = Math.abs(found) / Math.abs(threshold);
  return threshold && found ? Math.max(times, 1 / times) : Number.MAX_VALUE;
}

/** Kinds that were found, notes last, the most frequent first. */
function kindsOf(page) {
  const kinds = Object.entries(page.counts).filter(([, count]) => count > 0);
  return kinds.sort((a, b) => isNote(a[0]) - isNote(b[0]) || b[1] - a[1]);
}

/** What can be done with all that is shown; among all kinds notes are left alone. */
function FindingDeeds({ page, kind, shown }) {
  if (!kind && !page.bad) return html`<p class="muted">${t('dataset.allGood', { count: page.pairs })}</p>`;
  const told = !kind && t('dataset.badPairs', { bad: page.bad, pairs: page.pairs });
  return html`<p class="finding-deeds"><span class="muted">${told}</span><span class="finding-buttons">
    <button type="button" class="button small" onClick=${() => showInList(kind)}>${t('dataset.showInList')}</button>
    <button type="button" class="button small" onClick=${() => untick(shown)}>
      ${t('dataset.untickShown', { count: shown.length })}</button></span></p>`;
}

function Findings() {
  const page = store.findings.value;
  const kind = store.findingKind.value;
  if (!page?.at) return html`<p class="muted">${t('dataset.notChecked')}</p>`;
  const kinds = kindsOf(page);
  if (!kinds.length) {
    return html`<p class="note good"><${Icon} name="circle-check" />${t('dataset.allGood', { count: page.pairs })}</p>`;
  }
  const cuttable = CUTTABLE.some((one) => page.counts[one] && (kind === '' || kind === one));
  const sorted = page.findings.toSorted((a, b) => excess(b) - excess(a));
  const [notes, faults] = [true, false].map((note) => sorted.filter((one) => isNote(one.kind) === note));
  const rows = (list) => list.map((one) => html`<${Finding} key=${`${one.result_id} ${one.kind}`} finding=${one} />`);
  return html`<div class="kinds" role="group" aria-label=${t('dataset.kinds')}>
      <button type="button" class="chip" aria-pressed=${kind === ''} onClick=${() => showKind('')}>
        ${t('dataset.allKinds')}</button>
      ${kinds.map(
        ([one, count]) => html`<button type="button" key=${one} aria-pressed=${kind === one}
          class=${`chip ${isNote(one) ? 'is-note' : ''}`} onClick=${() => showKind(one)}>
          ${capital(t(`finding.${one}`))} ${number(count)}</button>`,
      )}</div>
    <${FindingDeeds} page=${page} kind=${kind} shown=${kind ? page.findings : faults} />
    ${cuttable && html`<div class="offer"><${Field} form="set" name="crop_align" control="offer-crop_align" /></div>`}
    <ul class="findings">${rows(faults)}</ul>
    ${
      notes.length > 0 &&
      html`<${Fold} name="notes" title=${t('dataset.notes')} summary=${number(notes.length)} open=${!faults.length}>
        <ul class="findings">${rows(notes)}</ul><//>`
    }
    ${
      page.total > page.findings.length &&
      html`<p class="muted">${t('page.andMore', { count: page.total - page.findings.length })}</p>`
    }`;
}

function Threshold({ one }) {
  const id = fieldId('set', one.name);
  const message = store.fieldErrors.value[`set.${one.name}`];
  return html`<div class="field"><label for=${id}>${capital(t(`finding.${one.name}`))}</label>
    <input id=${id} type="number" step="any" min=${one.minimum} max=${one.maximum} placeholder=${one.default}
      value=${store.thresholds.value[one.name] ?? ''} aria-invalid=${message ? 'true' : undefined}
      onInput=${(event) => enterThreshold(one.name, event.currentTarget.value)} /></div>`;
}

/** Kinds of findings that are no reason to refuse a pair: those that were found, and those that are chosen already. */
function Allowed({ choices }) {
  const allow = store.allow.value;
  const found = store.findings.value?.counts ?? {};
  const kinds = choices.kinds.filter((one) => !one.note && (found[one.id] || allow.includes(one.id)));
  if (!kinds.length) return null;
  return html`<fieldset class="allowed"><legend>${t('dataset.allow')}</legend>${kinds.map(
    ({ id }) => html`<label key=${id}><input type="checkbox" checked=${allow.includes(id)}
      onChange=${(event) => allowKind(id, event.currentTarget.checked)} /> ${capital(t(`finding.${id}`))}
      ${found[id] ? ` ${number(found[id])}` : ''}</label>`,
  )}</fieldset>`;
}

function Check({ choices }) {
  return html`<section class="column findings-column"><header><h2>${t('dataset.preflight')}</h2>
      <${JobDeed} icon="list-checks" run=${check}
        text=${t(store.findings.value?.at ? 'dataset.checkAgain' : 'dataset.check')} /></header>
    <${Job} />
    ${choices.extra && html`<p class="note"><${Icon} name="info" />${problemText(choices.extra)}</p>`}
    <${Findings} />
    <${Fold} name="thresholds" title=${t('dataset.thresholds')}><div class="grid">
      ${choices.thresholds.map((one) => html`<${Threshold} key=${one.name} one=${one} />`)}</div><//></section>`;
}

/** What fewer need: directions and their captions, sizes of the trainer, paths of its machine. */
function Further({ words }) {
  const { reverse, reverse_caption_mode: mode, size_rule: rule } = store.forms.set.value;
  const reversed = reverse !== 'off';
  return html`<${Fold} name="set_more" title=${t('dataset.more')}><div class="grid">
    <${Field} form="set" name="reverse" texts=${words('reverse')} />
    ${
      reversed &&
      html`<${Field} form="set" name="reverse_caption_mode" texts=${words('caption_mode')} />
      ${mode === 'template' && html`<${Field} form="set" name="reverse_caption_template" />`}
      <${Field} form="set" name="reverse_trigger" />`
    }
    <${Field} form="set" name="no_op_share" /><${Field} form="set" name="alpha" texts=${words('alpha')} />
    ${rule === 'trainer' && html`<${Fields} form="set" names=${['resolution', 'step']} />`}
    <${Fields} form="set" names=${['path_root', 'num_repeats', 'folder_repeats']} /></div>
    <${Field} form="set" name="masks" /><//>`;
}

function Options({ choices }) {
  const form = store.forms.set.value;
  const titles = Object.fromEntries(choices.trainers.map((one) => [one.id, one.title]));
  const words = (name) =>
    Object.fromEntries(
      (store.specs.set.value.find((one) => one.name === name)?.choices ?? []).map((one) => [
        one,
        t(`dataset.${name}.${one}`),
      ]),
    );
  return html`<section class="column"><header><h2>${t('dataset.set')}</h2></header>
    <div class="grid"><${Field} form="set" name="trainer" texts=${titles} /><${Field} form="set" name="name" />
      <${Field} form="set" name="caption_mode" texts=${words('caption_mode')} /><${Field} form="set" name="trigger" />
      ${form.caption_mode === 'template' && html`<${Field} form="set" name="caption_template" />`}
      <${Field} form="set" name="picture_format" texts=${words('picture_format')} />
      ${['jpeg', 'webp'].includes(form.picture_format) && html`<${Field} form="set" name="quality" />`}
      <${Field} form="set" name="size_rule" texts=${words('size_rule')} />
      ${['multiple', 'longest'].includes(form.size_rule) && html`<${Field} form="set" name="size_value" />`}
      <${Fields} form="set" names=${['stem_template', 'validation', 'seed']} /></div>
    <${Field} form="set" name="output_dir" label=${t('dataset.output')}
      placeholder=${store.forms.rule.value.output_dir} />
    <div class="checks">${store.filtered.value && html`<${Field} form="set" name="only_filtered" />`}
      <${Fields} form="set" names=${['only_selected', 'first_only', 'crop_align', 'as_zip', 'leave_out']} /></div>
    <${Further} words=${words} /><${Allowed} choices=${choices} />
    <${JobDeed} icon="save-all" text=${t('dataset.export')} run=${exportSet} primary />
    <${Fold} name="report" title=${t('dataset.report')} open><div class="grid">
      <${Field} form="set" name="path" label=${t('dataset.reportFile')} placeholder=${defaultReport()} />
      <${Field} form="set" name="price_per_call" label=${t('dataset.report_price')}
        placeholder=${String(store.config.value.price_per_call ?? 0)} /></div>
      <${JobDeed} icon="file-text" text=${t('dataset.writeReport')} run=${writeReport} /><//></section>`;
}

function Examples() {
  const names = store.nameExamples.value;
  if (!names.length) return null;
  return html`<div class="examples" role="status"><p class="muted">${t('page.save.examples')}</p>
    <ul>${names.map(
      (one, at) => html`<li key=${at}><bdi class="from">${one.source}</bdi><${Icon} name="arrow-right" size=${12} />
        <bdi>${one.image}</bdi>${one.txt && html`<span class="muted">+ <bdi>${one.txt}</bdi></span>`}</li>`,
    )}</ul></div>`;
}

function Variables() {
  const { name, text } = store.templateVariables.value;
  const rows = (list) =>
    list.map((one) => html`<tr key=${one}><td><code>{${one}}</code></td><td>${t(`page.variable.${one}`)}</td></tr>`);
  const table = (title, list) => html`<table><caption>${title}</caption><tbody>${rows(list)}</tbody></table>`;
  return html`<${Fold} name="variables" title=${t('page.save.variables')}><div class="variables">
    ${table(t('page.save.variables'), name)}${table(t('page.save.textOnly'), text)}</div><//>`;
}

const ruleLabel = (id) => (has(`page.rule.${id}`) ? t(`page.rule.${id}`) : id);

function Saving() {
  const { done, partial_success: partly } = store.progress.value;
  const saving = store.busy.value.has('save_all');
  return html`<section class="column"><header><h2>${t('page.part.saving')}</h2></header>
    <${Field} form="rule" name="output_dir" />
    <div class="field"><label for="field-rule">${t('page.save.rule')}</label>
      <select id="field-rule" value=${store.ruleId.value} onChange=${(event) => chooseRule(event.currentTarget.value)}>
        <option value="" selected=${store.ruleId.value === ''} disabled>${t('page.rule.own')}</option>
        ${store.saveRules.value.map(
          (one) => html`<option key=${one.id} value=${one.id} selected=${one.id === store.ruleId.value}>
            ${ruleLabel(one.id)}</option>`,
        )}</select></div>
    <${Field} form="rule" name="filename_template" />
    <div class="pair"><${Fields} form="rule" names=${['replace_from', 'replace_to']} /></div>
    <div class="checks"><${Fields} form="rule" names=${['create_txt', 'only_selected', 'only_first_if_multiple']} />
      </div>
    ${store.forms.rule.value.create_txt && html`<${Field} form="rule" name="txt_template" />`}
    <${Examples} />
    <button type="button" class="button" disabled=${saving || done + partly === 0} onClick=${() => saveAll()}>
      <${Icon} name="save" />${t(saving ? 'page.saving' : 'page.saveAll')}</button><${Variables} /></section>`;
}

export function Sets() {
  const choices = store.setChoices.value;
  useEffect(() => {
    openSets();
  }, []);
  if (!choices) return html`<p class="place-note muted">${t('page.loading')}</p>`;
  return html`<${Check} choices=${choices} /><${Options} choices=${choices} /><${Saving} />`;
}
