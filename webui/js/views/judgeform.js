// Owns the judge's side of Connect: its form, its rubric, and how far it agrees with what the person decided.
import { fillSettings, isDirty } from '../form.js';
import { html, Icon } from '../html.js';
import { oneDigit, problemText, t } from '../i18n.js';
import { deleteRubric, judgeOne, judgeRest, saveJudge, saveRubric } from '../judgesettings.js';
import * as store from '../store.js';
import { Address, furtherNames, KeyPlace } from './connection.js';
import { Field, Fields, Fold, namesOf } from './form.js';

const NUMBERS = ['pass_score', 'max_edge', 'passes'];
const SHOWN = [...NUMBERS, 'rubric', 'along', 'price_per_call', 'concurrency_limit'];
const COMBINATIONS = ['weighted', 'min', 'sqrt_min', 'geometric'];

const said = (text) => (typeof text === 'string' ? text : (text?.[store.language.value] ?? text?.en ?? ''));
const rubrics = () => store.rubrics.value ?? [];

function Criteria() {
  const rubric = rubrics().find((one) => one.name === store.forms.judge.value.rubric);
  if (!rubric) return null;
  const total = rubric.criteria.reduce((sum, one) => sum + one.weight, 0) || 1;
  const weighted = ['weighted', 'geometric'].includes(rubric.combination);
  const write = (name, built_in) => () => {
    store.rubric.value = structuredClone({ ...rubric, name, built_in });
  };
  return html`<table class="criteria"><caption class="for-readers">${t('judge.rubric')}</caption><tbody>
    ${rubric.criteria.map(
      (one) => html`<tr key=${one.id}><th scope="row">${said(one.question)}</th>
        <td>${weighted ? `${Math.round((100 * one.weight) / total)} %` : ''}</td></tr>`,
    )}</tbody></table>
    <p class="small spaced"><span class="muted">${t(`judge.combination.${rubric.combination}`)}</span>
      <button type="button" class="link" onClick=${write(t('judge.rubric.copyOf', { name: rubric.name }), false)}>
        ${t('judge.rubric.own')}</button>
      ${
        !rubric.built_in &&
        html`<button type="button" class="link" onClick=${write(rubric.name, false)}>${t('judge.rubric.edit')}</button>
        <button type="button" class="link" onClick=${() => deleteRubric(rubric.name)}>${t('page.delete.do')}</button>`
      }</p>`;
}

function rubricTexts() {
  return Object.fromEntries(
    rubrics().map(({ name, built_in: ours }) => [name, ours ? t(`judge.rubric.${name}`) : name]),
  );
}

function Deeds() {
  const { done, partial_success: partly } = store.progress.value;
  const left = Math.max(0, done + partly - (store.judgeReport.value?.judged ?? 0));
  const ready = Boolean(store.judge.value?.model_name) && !isDirty('judge');
  const busy = store.job.value?.status === 'running';
  return html`<div class="form-deeds">
    ${
      isDirty('judge') &&
      html`<button type="button" class="button primary" onClick=${() => saveJudge()}>${t('page.config.save')}</button>
        <button type="button" class="button plain" onClick=${() => fillSettings(null, 'judge')}>
          ${t('page.config.discard')}</button>`
    }
    <button type="button" class="button" disabled=${!ready || busy} onClick=${judgeOne}><${Icon} name="plug" />
      ${t('judge.one')}</button><span class="spring"></span>
    ${
      left > 0 &&
      html`<button type="button" class="button" disabled=${!ready || busy} onClick=${judgeRest}>
        <${Icon} name="list-checks" />${t('judge.restOf', { count: left })}</button>`
    }</div>`;
}

export function JudgeForm() {
  if (!store.rubrics.value) return html`<p class="muted">${t('page.loading')}</p>`;
  const names = furtherNames('judge', SHOWN);
  return html`<div class="connect-title"><h2>${t('connect.role.judge')}</h2></div>
    <p class="muted small">${t('judge.hint')}</p>
    <${Field} form="judge" name="along" /><${Field} form="judge" name="api_key" /><${KeyPlace} form="judge" />
    <div class="three"><${Fields} form="judge" names=${['model_name', 'price_per_call', 'concurrency_limit']} /></div>
    <${Address} form="judge" />
    <${Field} form="judge" name="rubric" texts=${rubricTexts()} /><${Criteria} />
    <div class="three"><${Fields} form="judge" names=${NUMBERS} /></div>
    <${Fold} name="judge" title=${t('page.fold.more')} summary=${namesOf('judge', names.slice(0, 6))}>
      <div class="fields"><${Fields} form="judge" names=${names} help=${true} /></div><//><${Deeds} />`;
}

function Job() {
  const job = store.job.value;
  if (job?.kind !== 'judge') return null;
  if (job.status === 'running') {
    return html`<section class="panel" role="status"><p><${Icon} name="loader" class="turning" size=${14} />
      ${t('judge.running', { done: job.done, total: job.total })}</p></section>`;
  }
  const problem = job.error ?? job.result?.problem;
  if (problem)
    return html`<section class="panel refused" role="alert"><p dir="auto">${problemText(problem)}</p></section>`;
  if (!job.result) return null;
  return html`<section class="panel passed" role="status"><p><${Icon} name="circle-check" size=${14} class="good" />
    ${t('judge.ended', { count: job.result.pairs, calls: job.result.calls, reused: job.result.reused })}</p></section>`;
}

/** Kept and not kept by score, with the line that passes now and the one that agrees best. */
function Plot({ report }) {
  const most = Math.max(1, ...report.kept.map((count, at) => count + report.dropped[at]));
  const height = (count) => ({ height: `${(100 * count) / most}%` });
  const at = (score) => ({ left: `${score * 10}%` });
  const suggested = report.suggested_pass_score;
  return html`<div class="plot" role="img" aria-label=${t('judge.plot')}>
    ${report.kept.map(
      (kept, bin) => html`<span key=${bin} class="bin"><i class="dropped" style=${height(report.dropped[bin])}></i>
        <i class="kept" style=${height(kept)}></i></span>`,
    )}<i class="line" style=${at(report.pass_score)}></i>
    ${suggested !== null && html`<i class="line suggested" style=${at(suggested)}></i>`}</div>
    <div class="plot-axis muted small"
      aria-hidden="true">${[0, 2, 4, 6, 8, 10].map((one) => html`<span>${one}</span>`)}</div>`;
}

function Calibration() {
  const report = store.judgeReport.value;
  if (!report?.judged) return null;
  const suggested = report.suggested_pass_score;
  const percent = (share) => (share === null ? '–' : `${Math.round(share * 100)} %`);
  return html`<section class="panel"><header><h3>${t('judge.calibration')}</h3>
      <span class="muted">${t('judge.decidedPairs', { count: report.decided })}</span></header>
    ${report.decided > 0 && html`<${Plot} report=${report} />`}
    ${!report.enough && html`<p class="warn small">${t('judge.tooFew', { count: report.decided })}</p>`}
    <dl class="numbers"><div><dd>${percent(report.agreement)}</dd><dt>${t('judge.agreement', {
      kappa: report.kappa === null ? '–' : report.kappa.toFixed(2),
    })}</dt></div>
      <div><dd>${report.mean === null ? '–' : oneDigit(report.mean)}</dd>
        <dt>${t('judge.mean', { count: report.judged })}</dt></div>
      ${
        suggested !== null &&
        html`<div><dd>${oneDigit(suggested)}</dd>
          <dt>${t('judge.suggested', { share: percent(report.suggested_agreement) })}</dt>
        </div>`
      }
      ${
        report.swapped > 0 &&
        html`<div><dd>${oneDigit(report.mean_disagreement)}</dd>
        <dt>${t('judge.swapped', { count: report.swapped })}</dt></div>`
      }
    </dl>
    ${
      suggested !== null &&
      suggested !== report.pass_score &&
      html`<button type="button" class="button small" onClick=${() => saveJudge({ pass_score: suggested })}>
      ${t('judge.takeSuggested', { score: oneDigit(suggested) })}</button>`
    }</section>`;
}

function Criterion({ one, change, remove }) {
  const put =
    (name, read = String) =>
    (event) =>
      change({ ...one, [name]: read(event.currentTarget.value) });
  return html`<li class="criterion"><input aria-label=${t('judge.criterion.id')} value=${one.id} onInput=${put('id')} />
    <input aria-label=${t('judge.criterion.weight')} type="number" min="0" step="any" value=${one.weight}
      onInput=${put('weight', Number)} />
    <input aria-label=${t('judge.criterion.question')} value=${said(one.question)} onInput=${put('question')} />
    <button type="button" class="link" onClick=${remove}>${t('page.delete.do')}</button></li>`;
}

function RubricEditor() {
  const rubric = store.rubric.value;
  if (!rubric) return null;
  const put = (part) => {
    store.rubric.value = { ...rubric, ...part };
  };
  const criteria = (change) => put({ criteria: change(rubric.criteria) });
  const add = () => criteria((all) => [...all, { id: `criterion_${all.length + 1}`, weight: 1, question: '' }]);
  return html`<section class="panel"><header><h3>${t('judge.rubric.own')}</h3></header>
    <div class="field"><label for="rubric-name">${t('judge.rubric.name')}</label>
      <input id="rubric-name" value=${rubric.name} onInput=${(event) => put({ name: event.currentTarget.value })} />
        </div>
    <div class="field"><label for="rubric-text">${t('judge.rubric.instructions')}</label>
      <textarea id="rubric-text" rows="3" onInput=${(event) => put({ instructions: event.currentTarget.value })}
        value=${said(rubric.instructions)}></textarea></div>
    <div class="field"><label for="rubric-combination">${t('judge.rubric.combination')}</label>
      <select id="rubric-combination" onChange=${(event) => put({ combination: event.currentTarget.value })}>
        ${COMBINATIONS.map(
          (one) => html`<option key=${one} value=${one}
          selected=${one === rubric.combination}>${t(`judge.combination.${one}`)}</option>`,
        )}
      </select></div>
    <ul class="criteria-rows">${rubric.criteria.map(
      (one, at) => html`<${Criterion} key=${at} one=${one}
        change=${(now) => criteria((all) => all.map((other, place) => (place === at ? now : other)))}
        remove=${() => criteria((all) => all.filter((_, place) => place !== at))} />`,
    )}</ul>
    <div class="form-deeds">
      <button type="button" class="button small" onClick=${add}>${t('judge.criterion.add')}</button>
      <span class="spring"></span>
      <button type="button" class="button small plain" onClick=${() => {
        store.rubric.value = null;
      }}>${t('page.cancel')}</button>
      <button type="button" class="button small primary"
        onClick=${() => saveRubric(rubric)}>${t('page.preset.save')}</button></div>
    </section>`;
}

function NotYet() {
  if (store.judgeReport.value?.judged || store.rubric.value) return null;
  return html`<section class="panel"><header><h3>${t('judge.notYet')}</h3></header><p>${t('judge.notYet.text')}</p>
    </section>`;
}

export function JudgeFacts() {
  return html`<${Job} /><${RubricEditor} /><${Calibration} /><${NotYet} />`;
}
