// Owns the pictures for whose sake the alarm paused the run: each result beside its source, and what is wrong with it.
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

/** What made the run pause; nothing where it pauses for another reason. Stands wherever the pause is told. */
export function Suspects() {
  const [suspects, setSuspects] = useState([]);
  const code = store.run.value?.paused?.code ?? '';
  const finished = store.run.value?.finished_in_run ?? 0; // calls in flight end after the pause, and count as well
  useEffect(() => setSuspects([]), [code]);
  useEffect(() => {
    let here = true;
    const take = (answer) => here && setSuspects(answer.suspects);
    if (code) call('list_suspects').then(take, () => undefined); // the pause itself is told in any case
    return () => {
      here = false;
    };
  }, [code, finished]);
  if (!suspects.length) return null;
  return html`<section class="suspects"><h3>${t('page.suspicion.title', { count: suspects.length })}</h3>
    <ul>${suspects.map((one) => html`<${Suspect} key=${one.result_id} one=${one} />`)}</ul></section>`;
}
