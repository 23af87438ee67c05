// Owns the picker of the browser: folders of the program's machine with their picture counts, or a table in one.
import { useEffect, useState } from 'preact/hooks';
import { call } from '../api.js';
import { html, Icon } from '../html.js';
import { t } from '../i18n.js';
import * as store from '../store.js';

export function FolderPicker({ dialog, done }) {
  const [here, setHere] = useState(null);
  const [error, setError] = useState('');
  const go = async (path) => {
    const stands = store.asked.folders();
    try {
      const found = await call('browse_folder', path ? { path } : {});
      if (!stands()) return undefined; // another was chosen meanwhile
      setHere(found);
      setError('');
    } catch (failure) {
      if (!stands()) return undefined;
      if (!here && path) return go('');
      setError(failure.message);
    }
    return undefined;
  };
  useEffect(() => {
    go(dialog.start);
  }, []);
  if (!here) return html`<p class="note">${error || t('page.loading')}</p>`;
  return html`
    <p class="folder-path"><bdi>${here.path}</bdi> <span class="muted">
      ${t('page.input.pictures', { count: here.pictures ?? 0 })}</span></p>
    <div class="folder-roots">${(here.roots ?? []).map((root) => {
      const { path, name } = typeof root === 'string' ? { path: root, name: root } : root;
      return html`<button type="button" class="button small" key=${path} onClick=${() => go(path)}>${name}</button>`;
    })}</div>
    ${error && html`<p class="field-error" role="alert">${error}</p>`}
    <ul class="folder-list" tabindex="0" aria-label=${t('page.folders')}>
      ${
        here.parent &&
        html`<li key=".."><button type="button" onClick=${() => go(here.parent)}>
        <${Icon} name="folder-up" /><span>${t('page.folders.up')}</span></button></li>`
      }
      ${here.folders.map(
        (
          one,
        ) => html`<li key=${one.path}><button type="button" onClick=${() => go(one.path)}><${Icon} name="folder" /><bdi>
          ${one.name}</bdi>
        ${one.pictures > 0 && html`<span class="muted">${t('page.input.pictures', { count: one.pictures })}</span>`}
          </button></li>`,
      )}
      ${
        dialog.files &&
        (here.tables ?? []).map(
          (one) => html`<li key=${one}><button type="button" onClick=${() => done(one)}><${Icon} name="file-text" />
            <bdi>${one.split(/[\\/]/).at(-1)}</bdi></button></li>`,
        )
      }
      ${
        !here.folders.length &&
        !(dialog.files && here.tables?.length) &&
        html`<li class="muted">${t('page.folders.none')}</li>`
      }
    </ul>
    <div class="dialog-deeds"><button type="button" class="button" onClick=${() => done(null)}>${t('page.cancel')}
      </button>
      ${
        !dialog.files &&
        html`<button type="button" class="button primary" onClick=${() => done(here.path)}>${t('page.folders.take')}
          </button>`
      }</div>`;
}
