// Owns the one menu that opens at a button: its place, its keys, its closing.
import { useLayoutEffect, useRef } from 'preact/hooks';
import { html, Icon } from '../html.js';
import { number } from '../i18n.js';
import * as store from '../store.js';

/** Opens a menu of items {icon, label, run, danger?, checked?, many?, count?} at a button; null is a line, `many` says
 * that several may be checked. */
export function openMenu(button, label, items) {
  store.menu.value =
    store.menu.peek()?.button === button
      ? null
      : { button, label, items: items.filter((item) => item !== undefined && item !== false) };
}

function close(refocus) {
  const menu = store.menu.peek();
  store.menu.value = null;
  if (refocus) menu?.button.focus();
}

function place(box, button) {
  const at = button.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.right - box.offsetWidth, innerWidth - box.offsetWidth - 8));
  const below = at.bottom + 4 + box.offsetHeight <= innerHeight - 8;
  box.style.left = `${left}px`;
  box.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - 4 - box.offsetHeight)}px`;
}

function onKey(event) {
  const items = [...event.currentTarget.querySelectorAll('button')];
  const at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
  if (to !== undefined) items[to % items.length]?.focus();
  else if (event.key === 'Escape' || event.key === 'Tab') close(true);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

export function Menu() {
  const menu = store.menu.value;
  const box = useRef(null);
  useLayoutEffect(() => {
    if (!menu) return undefined;
    place(box.current, menu.button);
    box.current.querySelector('button')?.focus();
    const outside = (event) => {
      if (!box.current?.contains(event.target) && !menu.button.contains(event.target)) close(false);
    };
    const away = () => close(false);
    addEventListener('pointerdown', outside);
    addEventListener('resize', away);
    return () => {
      removeEventListener('pointerdown', outside);
      removeEventListener('resize', away);
    };
  }, [menu]);
  if (!menu) return null;
  return html`<section aria-label=${menu.label}><div class="menu" role="menu" aria-label=${menu.label} ref=${box}
    onKeyDown=${onKey}>
    ${menu.items.map((item, at) =>
      item === null
        ? html`<hr key=${at} />`
        : html`<button type="button" key=${at}
          role=${item.checked === undefined ? 'menuitem' : item.many ? 'menuitemcheckbox' : 'menuitemradio'}
            aria-checked=${item.checked}
          class=${item.danger ? 'danger' : ''} disabled=${item.disabled} tabindex="-1"
          onClick=${() => {
            close(true);
            item.run();
          }}>
          <${Icon} name=${item.checked ? 'check' : (item.icon ?? 'none')} /><span>${item.label}</span>
            ${item.count === undefined ? null : html`<span class="menu-count">${number(item.count)}</span>`}</button>`,
    )}
  </div></section>`;
}
