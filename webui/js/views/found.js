// Owns what was found at the path: pictures, unreadable files, the first tasks with their prompts, calls and costs.
import { html, Icon } from '../html.js';
import { bytes, money, number, problemText, t } from '../i18n.js';
import { acceptProposal } from '../projects.js';
import * as store from '../store.js';

function Listed({ summary, rows, count }) {
  if (!count) return null;
  return html`<details class="unreadable"><summary>${summary}</summary><ul>
    ${rows.map((row, at) => html`<li key=${at}>${row}</li>`)}
    ${count > rows.length && html`<li class="muted">${t('page.andMore', { count: count - rows.length })}</li>`}
  </ul></details>`;
}

const lonely = (names, count, text) => html`<${Listed} count=${count} summary=${t(text, { count })}
  rows=${(names ?? []).map((name) => html`<bdi>${name}</bdi>`)} />`;

/** Files that cannot be sent, with the reason. */
export function Unreadable({ found }) {
  const count = found.unreadable_count ?? 0;
  const rows = found.unreadable.map(
    (one) => html`<bdi>${one.path}</bdi><br /><span class="muted">${problemText(one)}</span>`,
  );
  return html`<${Listed} count=${count} summary=${t('page.input.unreadable', { count })} rows=${rows} />`;
}

/** What the program warns of before a start. */
export function Warnings({ found }) {
  const warnings = found.warnings ?? [];
  if (!warnings.length) return null;
  return html`<ul class="warnings">${warnings.map(
    (one) => html`<li key=${one.code + one.message} class="small warn" dir="auto">
      <${Icon} name="triangle-alert" size=${14} />${problemText(one)}</li>`,
  )}</ul>`;
}

/** The first tasks with their prompts as they will be sent. */
export function FirstTasks({ found }) {
  const rows = found.prompts ?? [];
  if (!rows.length) return null;
  const title = t('page.plan.first', { count: found.tasks });
  const others = found.tasks - rows.length;
  return html`<div class="first-tasks" tabindex="0" role="region" aria-label=${title}><table>
    <caption>${title}</caption>
    <thead><tr><th scope="col">${t('page.part.input')}</th><th scope="col">${t('page.plan.prompt')}</th></tr></thead>
    <tbody>${rows.map(
      (row, at) => html`<tr key=${at}><td><bdi>${row.source}</bdi>${row.references.map(
        (one) => html`<br /><bdi class="muted" key=${one}>+ ${one}</bdi>`,
      )}</td><td dir="auto">${row.prompt || '–'}
        ${row.reused && html`<span class="known"><${Icon} name="check" size=${12} />${t('page.plan.known')}</span>`}
        </td></tr>`,
    )}</tbody></table>
    ${others > 0 && html`<p class="small muted">${t('page.plan.others', { count: others })}</p>`}</div>`;
}

/** How many calls a start makes, and what they cost; says so while it counts anew. */
export function Calls({ found }) {
  const results = Number(store.forms.config.value.result_count) || 1;
  const calls = found.calls ?? found.count;
  const stale = store.inspectionStale.value;
  const byBatch = store.forms.config.value.delivery === 'batch' && found.price_batch !== null;
  const price = byBatch ? found.price_batch : found.price_now;
  const pace = byBatch ? 0 : found.pace_now;
  return html`<p class=${`calls ${stale ? 'stale' : ''}`} aria-busy=${stale}>
    ${stale && html`<${Icon} name="loader" size=${14} class="turning" />`}
    <b>${t('page.input.calls', { count: calls })}</b>
    ${results > 1 && html`<span> · ${t('page.input.each', { count: results })}</span>`}
    ${price > 0 && html`<span> · ${t('page.cost.about', { price: money(price) })}</span>`}
    ${pace > 0 && html`<span> · ${t('page.input.pace', { pace: number(Math.round(pace)) })}</span>`}
    ${found.reused > 0 && html`<br /><span class="muted">${t('page.input.reused', { count: found.reused })}</span>`}
      </p>`;
}

/** Another folder is another project, unless the person wants its pictures in this one. */
function Proposal({ project }) {
  if (!project || store.mixed.value === project.input_path) return null;
  const key = project.id ? 'page.project.openFor' : 'page.project.newFor';
  const mix = () => {
    store.mixed.value = project.input_path;
  };
  return html`<div class="proposal"><p><${Icon} name="folder" />${t('page.project.otherFolder')}</p>
    <p><button type="button" class="button primary" disabled=${store.working.value}
        onClick=${() => acceptProposal(project)}><bdi>${t(key, { name: project.name })}</bdi></button>
      <button type="button" class="button" onClick=${mix}>${t('page.project.mix')}</button></p></div>`;
}

/** What lies at the path, in a few lines. */
export function Found() {
  const found = store.inspection.value;
  if (!found) return null;
  if (found.busy) {
    const seen = store.lookedAt.value;
    return html`<p class="note"><${Icon} name="loader" class="turning" />${t('page.input.looking')}
      ${seen ? ` ${t('page.input.lookedAt', { count: seen })}` : ''}</p>`;
  }
  const formats = Object.entries(found.formats ?? {}).map(([kind, count]) => `${kind.toUpperCase()} ${number(count)}`);
  const largest = found.largest ? ` · ${t('page.input.largest', { size: bytes(found.largest) })}` : '';
  return html`<div class="found" role="status">
    <p><${Icon} name="image" /><b>${t('page.input.pictures', { count: found.count })}</b>
      <span class="muted">${bytes(found.total_bytes)} · ${formats.join(', ')}${largest}</span></p>
    <${Warnings} found=${found} /><${Proposal} project=${found.proposes_project} />
    <${Unreadable} found=${found} />
    ${lonely(found.rows_without_file, found.rows_without_file_count, 'page.plan.rowsWithoutFile')}
    ${lonely(found.files_without_row, found.files_without_row_count, 'page.plan.filesWithoutRow')}
    <${Calls} found=${found} /></div>`;
}
