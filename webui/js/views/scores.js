// Owns how scores are shown: a number with its colour, the criteria in words, bars, and the plot of many.
import { html, Icon } from '../html.js';
import { has, number, oneDigit, t } from '../i18n.js';

/** A criterion in a word; those of a person's own rubric are named by their id. */
export const criterion = (id) => (has(`page.criterion.${id}`) ? t(`page.criterion.${id}`) : id);

/** A score as people compare them: always with one decimal. */
export const scoreText = (score) => score.toFixed(1);

/** A rubric by the name that people read; own ones have theirs. */
export const rubricName = (name) => (has(`page.rubric.${name}`) ? t(`page.rubric.${name}`) : name);

/** The best judgement of some results, as the list goes by; null where none is judged. */
export function bestJudgement(results) {
  const judged = results.filter((one) => !one.deleted && one.judgement).map((one) => one.judgement);
  return judged.length ? judged.reduce((best, one) => (one.score > best.score ? one : best)) : null;
}

/** A score as a tag: below the pass mark in the colour of warnings. */
export const ScoreTag = ({ judged }) =>
  judged &&
  html`<span class=${`score-tag ${judged.passed ? '' : 'low'}`} title=${judged.reason}>
    <${Icon} name="scale" size=${13} />
    <b>${scoreText(judged.score)}</b></span>`;

/** The criteria of a judgement in one line. */
export const Criteria = ({ scores }) =>
  html`<p class="criteria muted">${Object.entries(scores ?? {})
    .map(([id, score]) => `${criterion(id)} ${oneDigit(score)}`)
    .join(' · ')}</p>`;

/** The same as bars. */
export const CriteriaBars = ({ scores, pass }) =>
  html`<ul class="criteria-bars">${Object.entries(scores ?? {}).map(
    ([id, score]) => html`<li key=${id}><span>${criterion(id)}</span>
      <span class="track"><i class=${score < pass ? 'low' : ''} style=${{ width: `${score * 10}%` }}></i></span>
      <b>${oneDigit(score)}</b></li>`,
  )}</ul>`;

const HEIGHT = 48;

/** Ten bars from 0 to 10; with `kept` and `dropped`, both upon each other. Lines mark scores: [{at, label, dashed}]. */
export function Histogram({ all, kept = null, dropped = null, lines = [], height = HEIGHT }) {
  const counts = all.map((count, at) => (kept ? kept[at] + dropped[at] : count));
  const most = Math.max(1, ...counts);
  const share = (count) => ({ height: `${(100 * count) / most}%` });
  const pass = lines[0]?.at ?? 0;
  const barsOf = (at, count) =>
    kept
      ? [
          ['out', dropped[at]],
          ['kept', kept[at]],
        ]
      : [[at + 1 > pass ? 'kept' : 'out', count]];
  const text = counts.map((count, at) => `${at}–${at + 1}: ${number(count)}`).join(', ');
  return html`<div class="histogram" role="img" aria-label=${text} style=${{ '--height': `${height}px` }}>
    ${counts.map(
      (count, at) => html`<span key=${at} class="bin" title=${`${at}–${at + 1}: ${number(count)}`}>
        ${barsOf(at, count).map(
          ([kind, many]) => html`<i key=${kind} class=${`bar ${kind}`} style=${share(many)}></i>`,
        )}</span>`,
    )}
    ${lines.map(
      ({ at, label, dashed }) => html`<i key=${label} class=${`mark ${dashed ? 'dashed' : ''}`} title=${label}
        style=${{ left: `${at * 10}%` }}></i>`,
    )}</div><p class="scale-line muted small"><span>0</span><span>5</span><span>10</span></p>`;
}
