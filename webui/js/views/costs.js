// Owns the dialog of costs: what was spent, by run, day, project, model and address, and the table of prices.
import { useState } from 'preact/hooks';
import { savePrices } from '../costs.js';
import { html, Icon, IconButton } from '../html.js';
import { cents, dateTime, has, number, problemText, t } from '../i18n.js';

const BY = ['run', 'day', 'project', 'model', 'door'];
const SHOWN = 200; // lines, the latest first
const PRICES = ['input', 'image', 'cached', 'output', 'drawn', 'per_call', 'per_picture', 'credit'];

function nameOf(by, line, names) {
  if (by === 'run') return line.began ? dateTime(line.began) : line.day;
  if (by === 'project') return names[line.name] || line.name.split(/[\\/]/).findLast(Boolean);
  return line.name || '–';
}

function Total({ name, value, most }) {
  return html`<div><dt>${t(`page.costs.${name}`)}</dt><dd><b>${cents(value)}</b>
    ${most > 0 && html`<span class="muted"> / ${cents(most)}</span>`}</dd></div>`;
}

function Lines({ by, costs }) {
  const lines = costs[`by_${by}`];
  const latest = by === 'run' || by === 'day';
  const shown = (latest ? lines.toReversed() : lines.toSorted((a, b) => b.cost - a.cost)).slice(0, SHOWN);
  if (!shown.length) return html`<p class="muted">${t('page.costs.none')}</p>`;
  return html`<div class="cost-table" tabindex="0" role="region" aria-label=${t(`page.costs.by.${by}`)}><table>
    <thead><tr><th scope="col">${t(`page.costs.by.${by}`)}</th>
      ${['cost', 'calls', 'refused', 'wasted', 'unknown'].map(
        (name) =>
          html`<th key=${name} scope="col" title=${t(`page.costs.${name}.help`)}>${t(`page.costs.${name}`)}</th>`,
      )}</tr></thead>
    <tbody>${shown.map(
      (line) => html`<tr key=${line.name}><th scope="row"><bdi title=${line.name}>
          ${nameOf(by, line, costs.project_names)}</bdi>
        ${by === 'run' && html`<br /><bdi class="muted mono">${line.models.join(', ')}</bdi>`}</th>
        <td>${cents(line.cost)}</td><td>${number(line.calls)}</td>
        ${['refused', 'wasted', 'unknown'].map(
          (name) => html`<td key=${name} class=${line[name] ? 'warn' : 'muted'}>${number(line[name])}</td>`,
        )}</tr>`,
    )}</tbody></table></div>`;
}

function Spent({ costs }) {
  const [by, setBy] = useState('run');
  return html`<dl class="cost-totals"><${Total} name="run" value=${costs.run} most=${costs.budget} />
      <${Total} name="today" value=${costs.today} most=${costs.budget_day} />
      <${Total} name="project" value=${costs.project} /><${Total} name="total" value=${costs.total} /></dl>
    <div class="segments" role="group" aria-label=${t('page.costs.group')}>${BY.map(
      (one) => html`<button type="button" key=${one} aria-pressed=${by === one} onClick=${() => setBy(one)}>
        ${t(`page.costs.by.${one}`)}</button>`,
    )}</div><${Lines} by=${by} costs=${costs} />`;
}

function Own({ row, at, change, remove }) {
  const cell = (name, more) => html`<td key=${name}><input type="text" value=${row[name] ?? ''} autocomplete="off"
    aria-label=${`${t(`page.prices.${name}`)} ${at + 1}`} ...${more}
    onInput=${(event) => change(at, name, event.currentTarget.value)} /></td>`;
  return html`<tr>${cell('model', { class: 'mono', placeholder: '*' })}${cell('host', { class: 'mono' })}
    ${PRICES.map((name) => cell(name, { inputmode: 'decimal' }))}
    <td><${IconButton} icon="trash-2" label=${`${t('page.delete.do')}: ${row.model || at + 1}`}
      onClick=${() => remove(at)} /></td></tr>`;
}

/** An entry that came with the program: it gives way to one of the person's own, which may begin as its copy. */
function BuiltIn({ entry, copy }) {
  return html`<tr class="muted"><td class="mono"><bdi>${entry.model ?? '*'}</bdi></td>
    <td class="mono"><bdi>${entry.host}</bdi></td>
    ${PRICES.map((name) => html`<td key=${name}>${entry[name] === undefined ? '' : number(entry[name])}</td>`)}
    <td><${IconButton} icon="pencil" label=${`${t('page.prices.change')}: ${entry.model ?? '*'}`}
      onClick=${() => copy(entry)} /></td></tr>`;
}

/** Words of a refusal, behind the column that it is about. */
function refusal(error) {
  const column = `page.prices.${error.params?.name}`;
  return has(column) ? `${t(column)}: ${problemText(error)}` : problemText(error);
}

function Prices({ prices, done }) {
  const [rows, setRows] = useState(prices.prices);
  const [error, setError] = useState(null);
  const change = (at, name, text) => setRows(rows.map((row, nth) => (nth === at ? { ...row, [name]: text } : row)));
  const add = (entry) => setRows([...rows, { ...entry }]);
  const save = async (event) => {
    event.preventDefault();
    const { error: refused = null } = await savePrices(rows);
    setError(refused);
    if (!refused) done(null);
  };
  return html`<form onSubmit=${save}><p class="muted small">${t('page.prices.hint')}</p>
    <div class="cost-table prices" tabindex="0" role="region" aria-label=${t('page.prices.title')}><table>
      <thead><tr>${['model', 'host', ...PRICES].map(
        (name) =>
          html`<th key=${name} scope="col" title=${t(`page.prices.${name}.help`)}>${t(`page.prices.${name}`)}</th>`,
      )}<td></td></tr></thead>
      <tbody>${rows.map(
        (row, at) => html`<${Own} key=${at} row=${row} at=${at} change=${change}
          remove=${(nth) => setRows(rows.filter((_, other) => other !== nth))} />`,
      )}${prices.built_in.map(
        (entry) => html`<${BuiltIn} key=${`${entry.host} ${entry.model}`} entry=${entry} copy=${add} />`,
      )}</tbody></table></div>
    ${
      error && html`<p class="field-error" role="alert"><${Icon} name="circle-alert" size=${14} />${refusal(error)}</p>`
    }
    <div class="dialog-deeds"><button type="button" class="button" onClick=${() => add({ model: '' })}>
        <${Icon} name="plus" />${t('page.prices.add')}</button>
      <button type="button" class="button" onClick=${() => done(null)}>${t('page.cancel')}</button>
      <button class="button primary">${t('page.prices.save')}</button></div></form>`;
}

const PARTS = ['spent', 'prices'];

export function Costs({ dialog, done }) {
  const [part, setPart] = useState('spent');
  return html`<div class="segments" role="group" aria-label=${t('page.costs')}>${PARTS.map(
    (one) => html`<button type="button" key=${one} aria-pressed=${part === one} onClick=${() => setPart(one)}>
      ${t(`page.costs.part.${one}`)}</button>`,
  )}</div>
  ${
    part === 'spent'
      ? html`<${Spent} costs=${dialog.costs} />`
      : html`<${Prices} prices=${dialog.prices} done=${done} />`
  }`;
}
