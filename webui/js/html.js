// Owns the template function of all views, and the icon element.
import { h } from 'preact';
import htm from 'htm';

export const html = htm.bind(h);

/** An icon of the sprite; decoration only, so the control that holds it carries the name. */
export function Icon({ name, size = 16, class: extra = '' }) {
  return html`<svg class=${`icon ${extra}`} width=${size} height=${size} aria-hidden="true"><use href=${`#i-${name}`} />
    </svg>`;
}

/** A button with an icon and a name for readers; `label` is the tooltip too. */
export function IconButton({ icon, label, size = 16, class: extra = '', ...rest }) {
  return html`<button type="button" class=${`icon-button ${extra}`} aria-label=${label} title=${label} ...${rest}>
    <${Icon} name=${icon} size=${size} /></button>`;
}

/** Puts the icon sprite into the document, where `use` finds it without another request. */
export async function loadIcons() {
  const answer = await fetch(new URL('../vendor/icons.svg', import.meta.url));
  const sprite = new DOMParser().parseFromString(await answer.text(), 'image/svg+xml').documentElement;
  sprite.classList.add('sprite');
  sprite.setAttribute('aria-hidden', 'true');
  document.body.prepend(document.importNode(sprite, true));
}
