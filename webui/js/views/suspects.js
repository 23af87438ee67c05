// Owns the pictures for which the alarm sounded: each result beside its source, and what is wrong with it.
import { useEffect, useState } from 'preact/hooks';
import { call, withQuery } from '../api.js';
import { html } from '../html.js';
import { t } from '../i18n.js';
import { setFilter } from '../list.js';
import * as store from '../store.js';
import { Thumb } from './card.js';

function Suspect({ one }) {
  const show = () => {
    store.place.value = 'judge';
    setFilter({ ...store.NO_FILTER, q: one.source_name });
  };
  return html`<li><button type="button" class="suspect" onClick=${show} title=${one.source_name}>
    <span class="suspect-pair"><${Thumb} url=${withQuery(one.source_thumbnail_url, { size: 128 })} alt="" />
      <${Thumb} url=${withQuery(one.thumbnail_url, { size: 128 })} alt="" /></span>
    <span class="suspect-why warn">${t(`page.suspicion.${one.suspicion}`)}</span><bdi class="muted">${one.source_name}
      </bdi></button></li>`;
}

/** What looks wrong, while the run pauses for it and when the run ended with it; nothing else while it goes. */
export function Suspects() {
  const [suspects, setSuspects] = useState([]);
  const count = store.run.value?.suspects ?? 0;
  const finished = store.run.value?.finished_in_run ?? 0; // the alarm sounds before its last result is in the list
  useEffect(() => {
    let here = true;
    const take = (answer) => here && setSuspects(answer.suspects);
    if (count) call('list_suspects').then(take, () => undefined); // the pause itself is told in any case
    return () => {
      here = false;
    };
  }, [count, finished]);
  if (!count || !suspects.length) return null;
  return html`<section class="suspects"><h3>${t('page.suspicion.title', { count: suspects.length })}</h3>
    ${!store.running.value && html`<p class="muted small">${t('page.suspicion.ended')}</p>`}
    <ul>${suspects.map((one) => html`<${Suspect} key=${one.result_id} one=${one} />`)}</ul></section>`;
}
