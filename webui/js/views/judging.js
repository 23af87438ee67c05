// Owns the judge's dialogs: what is meant, what it takes, and how far the judge agrees with the person.
import { useEffect, useState } from 'preact/hooks';
import { html, Icon } from '../html.js';
import { LANGUAGES, money, number, oneDigit, t } from '../i18n.js';
import { countBelow, countTicked, planScores, scopes } from '../judging.js';
import { costOf } from '../run.js';
import * as store from '../store.js';
import { Histogram, rubricName, scoreText } from './scores.js';

const price = () => Number(store.judge.value?.price_per_call) || 0;
const judgeCost = (calls) => (price() ? ` ${t('page.cost.about', { price: money(price() * calls) })}` : '');

/** What a question answers, asked again whenever `asked` changes; null meanwhile. A refusal is shown in its place. */
function useAnswer(ask, ...asked) {
  const [answer, setAnswer] = useState(null);
  useEffect(() => {
    let here = true;
    setAnswer(null);
    ask().then(
      (found) => here && setAnswer(found),
      (error) => here && setAnswer({ error }),
    );
    return () => {
      here = false;
    };
  }, asked);
  return answer;
}

function Foot({ done, ready, label, onConfirm }) {
  return html`<div class="dialog-deeds"><button type="button" class="button" onClick=${() => done(null)}>
      ${t('page.cancel')}</button>
    <button type="button" class="button primary" disabled=${!ready} autofocus onClick=${onConfirm}>${label}</button>
      </div>`;
}

/** Which pairs are meant. */
function Scope({ all, scope, choose }) {
  return html`<fieldset class="choices"><legend>${t('page.judge.which')}</legend>${all.map(
    (one) => html`<label key=${one.scope} class="facet"><input type="radio" name="scope"
      checked=${one.scope === scope} onChange=${() => choose(one.scope)} />
      <span>${t(`page.judge.scope.${one.scope}`)}</span><span class="facet-count">${number(one.count)}</span></label>`,
  )}</fieldset>`;
}

function useScope() {
  const [all] = useState(scopes);
  const [scope, choose] = useState(all[0].scope);
  return { all, scope, choose };
}

/** Who is asked. */
function Who() {
  const { model_name: model, rubric, pass_score: pass } = store.judge.value;
  const parts = [`${t('page.judge.rubric')} ${rubricName(rubric)}`, `${t('page.judge.pass')} ${scoreText(pass)}`];
  return html`<p class="small muted"><${Icon} name="scale" size=${13} /> <bdi>${model}</bdi>${' · '}${parts.join(' · ')}
    </p>`;
}

const Refusal = ({ error }) => html`<p class="field-error" dir="auto">${error.message || error.code}</p>`;
const Counting = () =>
  html`<p class="muted"><${Icon} name="loader" size=${14} class="turning" /> ${t('page.loading')}</p>`;

export function Score({ done }) {
  const chosen = useScope();
  const [again, setAgain] = useState(false);
  const plan = useAnswer(() => planScores(chosen.scope, again), chosen.scope, again);
  const ready = plan && !plan.error;
  return html`<${Scope} ...${chosen} />
    <label class="facet"><input type="checkbox" checked=${again}
      onChange=${(event) => setAgain(event.currentTarget.checked)} /><span>${t('page.judge.again')}</span></label>
    <${Who} />${!plan && html`<${Counting} />`}${plan?.error && html`<${Refusal} error=${plan.error} />`}
    ${
      ready &&
      html`<p class="takes"><b>${t('page.judge.calls', { count: plan.calls })}</b>${judgeCost(plan.calls)}
        ${plan.reused > 0 && html` · <span class="muted">${t('page.judge.reused', { count: plan.reused })}</span>`}</p>`
    }
    <${Foot} done=${done} ready=${ready && plan.calls + plan.reused > 0}
      label=${t('page.judge.do', { count: ready ? plan.calls + plan.reused : 0 })}
      onConfirm=${() => done({ scope: chosen.scope, again })} />`;
}

/** A score as a number field. */
function ScoreField({ score, enter }) {
  return html`<div class="field score-field"><label for="dialog-score">${t('page.judge.below')}</label>
    <input id="dialog-score" type="number" min="0" max="10" step="0.1" value=${score} inputmode="decimal"
      onInput=${(event) => enter(event.currentTarget.value)} /></div>`;
}

const isScore = (text) => text !== '' && Number(text) >= 0 && Number(text) <= 10;
const nothing = () => Promise.resolve({ affected: 0, retried_count: 0 });

export function Untick({ done }) {
  const chosen = useScope();
  const [score, enter] = useState(String(store.judge.value.pass_score));
  const ask = () => (isScore(score) ? countTicked(Number(score), chosen.scope) : nothing());
  const plan = useAnswer(ask, score, chosen.scope);
  const count = plan?.affected ?? 0;
  return html`<${ScoreField} score=${score} enter=${enter} /><${Scope} ...${chosen} />
    ${plan?.error && html`<${Refusal} error=${plan.error} />`}
    <p class="takes"><b>${plan ? t('page.judge.willUntick', { count }) : t('page.loading')}</b>
      <span class="muted"> ${t('page.judge.oneStep')}</span></p>
    <${Foot} done=${done} ready=${count > 0} label=${t('page.judge.untickDo', { count })}
      onConfirm=${() => done({ scope: chosen.scope, score: Number(score) })} />`;
}

export function Rounds({ done }) {
  const [score, enter] = useState(String(store.judge.value.pass_score));
  const [rounds, setRounds] = useState('3');
  const [withReason, setReason] = useState(true);
  const plan = useAnswer(() => (isScore(score) ? countBelow(Number(score)) : nothing()), score);
  const count = plan?.retried_count ?? 0;
  const most = count * (Number(rounds) || 0);
  const edits = costOf(most);
  const prompt = store.forms.config.value.user_prompt;
  return html`<div class="field-row"><${ScoreField} score=${score} enter=${enter} />
      <div class="field score-field"><label for="dialog-rounds">${t('page.judge.rounds')}</label>
        <input id="dialog-rounds" type="number" min="1" max="10" value=${rounds}
          onInput=${(event) => setRounds(event.currentTarget.value)} /></div></div>
    <label class="facet"><input type="checkbox" checked=${withReason}
      onChange=${(event) => setReason(event.currentTarget.checked)} /><span>${t('page.judge.withReason')}</span></label>
    <div class="prompts"><section tabindex="0" aria-label=${t('page.prompt.used')}><b>${t('page.prompt.used')}</b>
      <p dir="auto">${prompt || t('page.prompt.none')}${
        withReason &&
        html`<br /><span class="muted">
        + ${t('page.judge.reasonHere')}</span>`
      }</p><p class="small muted">${t('page.judge.ownPrompts')}</p></section></div>
    ${plan?.error && html`<${Refusal} error=${plan.error} />`}
    <p class="takes"><b>${plan ? t('page.judge.roundsTake', { count }) : t('page.loading')}</b>
      ${plan && t('page.judge.roundsMost', { edits: most, scores: most })}${edits && ` ${edits}`}
      ${price() > 0 && ` + ${judgeCost(most).trim()}`}</p>
    <p class="small muted">${t('page.judge.roundsKeep')}</p>
    <${Foot} done=${done} ready=${count > 0 && Number(rounds) >= 1 && Number(rounds) <= 10}
      label=${t('page.judge.roundsDo', { count })}
      onConfirm=${() => done({ score: Number(score), rounds: Number(rounds), withReason })} />`;
}

export function Captions({ done }) {
  const chosen = useScope();
  const [length, setLength] = useState('short');
  const [language, setLanguage] = useState(store.language.peek());
  const pick = (set) => (event) => set(event.currentTarget.value);
  return html`<${Scope} ...${chosen} /><div class="field-row">
    <div class="field"><label for="dialog-length">${t('page.caption.length')}</label>
      <select id="dialog-length" value=${length} onChange=${pick(setLength)}>${['short', 'long'].map(
        (one) => html`<option key=${one} value=${one}>${t(`page.caption.${one}`)}</option>`,
      )}</select></div>
    <div class="field"><label for="dialog-language">${t('page.caption.language')}</label>
      <select id="dialog-language" value=${language} onChange=${pick(setLanguage)}>${Object.entries(LANGUAGES).map(
        ([tag, name]) => html`<option key=${tag} value=${tag}>${name}</option>`,
      )}</select></div></div>
    <${Who} /><p class="takes">${t('page.caption.takes')}</p>
    <${Foot} done=${done} ready=${true} label=${t('page.caption.do')}
      onConfirm=${() => done({ scope: chosen.scope, length, language })} />`;
}

/** What is intended with all pictures; each then gets a prompt of its own. */
export function Intention({ done }) {
  const [text, enter] = useState('');
  const count = store.inspection.value?.count ?? 0;
  return html`<div class="field"><label for="dialog-intention">${t('page.prompts.intention')}</label>
      <textarea id="dialog-intention" rows="3" maxlength="4000" dir="auto" placeholder=${t('page.prompts.example')}
        value=${text} onInput=${(event) => enter(event.currentTarget.value)}></textarea></div>
    <${Who} /><p class="takes"><b>${t('page.judge.calls', { count })}</b>${judgeCost(count)}
      <span class="muted"> ${t('page.prompts.takes')}</span></p>
    <${Foot} done=${done} ready=${count > 0 && text.trim()} label=${t('page.caption.do')}
      onConfirm=${() => done(text.trim())} />`;
}

export function Compare({ done }) {
  const chosen = useScope();
  return html`<${Scope} ...${chosen} /><${Who} /><p class="takes">${t('page.judge.compareTakes')}</p>
    <${Foot} done=${done} ready=${true} label=${t('page.judge.compareDo')}
      onConfirm=${() => done({ scope: chosen.scope })} />`;
}

const percent = (share) => (share === null ? '–' : `${number(Math.round(share * 100))} %`);

/** The plot and the figures of the calibration; `compact` leaves out what only the dialog has room for. */
export function Calibration({ done }) {
  const report = store.judgeReport.value;
  if (!report) return html`<${Counting} />`;
  const pass = report.pass_score;
  const suggested = report.suggested_pass_score;
  const lines = [{ at: pass, label: `${t('page.judge.pass')} ${scoreText(pass)}` }];
  if (suggested !== null) {
    lines.push({ at: suggested, label: `${t('page.judge.suggested')} ${scoreText(suggested)}`, dashed: true });
  }
  const facts = [
    [percent(report.agreement), t('page.judge.agreement')],
    [report.kappa === null ? '–' : oneDigit(Math.round(report.kappa * 100) / 100), t('page.judge.kappa')],
    [suggested === null ? '–' : scoreText(suggested), t('page.judge.suggested')],
    [percent(report.suggested_agreement), t('page.judge.suggestedAgreement')],
    [report.mean_disagreement === null ? '–' : oneDigit(report.mean_disagreement), t('page.judge.disagreement')],
  ];
  const better = suggested !== null && Math.abs(suggested - pass) >= 0.05;
  return html`<p>${t('page.judge.decidedOf', { count: report.decided, judged: report.judged })}</p>
    ${!report.enough && html`<p class="note warn">${t('page.judge.tooFew', { count: report.decided })}</p>`}
    <p class="legend small"><span class="key kept"></span>${t('page.judge.kept')}<span class="key out"></span>
      ${t('page.judge.dropped')}<span class="key line"></span>${lines[0].label}
      ${lines[1] && html`<span class="key line dashed"></span>${lines[1].label}`}</p>
    <${Histogram} all=${report.histogram} kept=${report.kept} dropped=${report.dropped} lines=${lines} height=${140} />
    <dl class="big-facts">${facts.map(
      ([value, name]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`,
    )}
      </dl>
    <div class="dialog-deeds"><button type="button" class="button" onClick=${() => done(null)}>${t('page.close')}
      </button>${
        better &&
        report.enough &&
        html`<button type="button" class="button primary" onClick=${() => done(suggested)}>
          ${t('page.judge.takePass', { score: scoreText(suggested) })}</button>`
      }</div>`;
}
