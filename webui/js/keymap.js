// Owns the keys: one table of commands, from which handlers, the list of keys and the labels of buttons are made.
import * as store from './store.js';

const DIGITS = ['1', '2', '3', '4', '5', '6', '7', '8', '9'];

/**
 * Commands in the order in which the list of keys shows them. `keys`: what `keyOf` gives, in our keymap; `photo`: in
 * that of photo programs where it differs; `shown`: how the list names many keys; `repeats`: a held key goes on with
 * it. What does not repeat is done once however long its key is held, so that no decision falls by accident.
 */
export const COMMANDS = [
  { where: 'page', id: 'place', keys: ['alt+1', 'alt+2', 'alt+3', 'alt+4', 'alt+5'], shown: ['alt+1', '–', '5'] },
  { where: 'page', id: 'projects', keys: ['ctrl+p'] },
  { where: 'page', id: 'undo', keys: ['z', 'ctrl+z'], repeats: true },
  {
    where: 'page',
    id: 'redo',
    keys: ['y', 'ctrl+y', 'shift+z', 'ctrl+shift+z'],
    shown: ['y', 'shift+z'],
    repeats: true,
  },
  { where: 'page', id: 'search', keys: ['/'] },
  { where: 'page', id: 'keys', keys: ['?'] },
  { where: 'page', id: 'closeLog', keys: ['escape'] },

  { where: 'list', id: 'right', keys: ['arrowright', 'shift+arrowright'], shown: ['arrowright'], repeats: true },
  { where: 'list', id: 'left', keys: ['arrowleft', 'shift+arrowleft'], shown: ['arrowleft'], repeats: true },
  { where: 'list', id: 'down', keys: ['arrowdown', 'shift+arrowdown'], shown: ['arrowdown'], repeats: true },
  { where: 'list', id: 'up', keys: ['arrowup', 'shift+arrowup'], shown: ['arrowup'], repeats: true },
  { where: 'list', id: 'first', keys: ['home', 'shift+home'], shown: ['home'] },
  { where: 'list', id: 'last', keys: ['end', 'shift+end'], shown: ['end'] },
  { where: 'list', id: 'open', keys: ['enter'] },
  { where: 'list', id: 'select', keys: [' '] },
  { where: 'list', id: 'tick', keys: DIGITS, shown: ['1', '–', '9'] },
  { where: 'list', id: 'dropAll', keys: ['x'] },
  { where: 'list', id: 'selectAll', keys: ['ctrl+a'] },
  { where: 'list', id: 'selectNone', keys: ['escape'] },
  { where: 'list', id: 'log', keys: ['l'] },

  { where: 'review', id: 'next', keys: ['arrowright', 'j'], photo: ['arrowright'], repeats: true },
  { where: 'review', id: 'previous', keys: ['arrowleft', 'k'], photo: ['arrowleft'], repeats: true },
  { where: 'review', id: 'nextUndecided', keys: ['n'] },
  { where: 'review', id: 'accept', keys: ['enter'], photo: ['p', 'enter'] },
  { where: 'review', id: 'reject', keys: ['x'] },
  { where: 'review', id: 'undecide', keys: ['u'] },
  {
    where: 'review',
    id: 'keepOne',
    keys: DIGITS.map((digit) => `shift+${digit}`),
    shown: ['shift+1', '–', '9'],
  },
  { where: 'review', id: 'tick', keys: DIGITS, shown: ['1', '–', '9'] },
  { where: 'review', id: 'tickCurrent', keys: ['t'] },
  { where: 'review', id: 'tickAll', keys: ['a'] },
  { where: 'review', id: 'dropOne', keys: ['delete', 'backspace'], shown: ['delete'] },
  { where: 'review', id: 'nextResult', keys: ['arrowdown'], repeats: true },
  { where: 'review', id: 'previousResult', keys: ['arrowup'], repeats: true },
  { where: 'review', id: 'undo', keys: ['z', 'ctrl+z'], repeats: true },
  { where: 'review', id: 'redo', keys: ['y', 'ctrl+y', 'shift+z', 'ctrl+shift+z'], shown: ['y'], repeats: true },
  { where: 'review', id: 'retry', keys: ['r'] },
  { where: 'review', id: 'retryPrompt', keys: ['shift+r'] },
  { where: 'review', id: 'save', keys: ['s'] },
  { where: 'review', id: 'side', keys: ['v'] },
  { where: 'review', id: 'slider', keys: ['b'] },
  { where: 'review', id: 'difference', keys: ['d'] },
  { where: 'review', id: 'single', keys: ['g'] },
  { where: 'review', id: 'flicker', keys: ['f'] },
  { where: 'review', id: 'zoomIn', keys: ['+', '='], shown: ['+'], repeats: true },
  { where: 'review', id: 'zoomOut', keys: ['-'], shown: ['−'], repeats: true },
  { where: 'review', id: 'fit', keys: ['0'] },
  { where: 'review', id: 'original', keys: ['o'] },
  { where: 'review', id: 'panel', keys: ['i', 'p'], photo: ['i'] },
  { where: 'review', id: 'caption', keys: ['e'] },
  { where: 'review', id: 'log', keys: ['l'] },
  { where: 'review', id: 'keys', keys: ['?'] },
  { where: 'review', id: 'close', keys: ['escape'] },

  { where: 'trial', id: 'vote', keys: DIGITS.slice(0, 8), shown: ['1', '–', '8'] },
  { where: 'trial', id: 'none', keys: ['0'] },
  { where: 'trial', id: 'down', keys: ['arrowdown'], repeats: true },
  { where: 'trial', id: 'up', keys: ['arrowup'], repeats: true },
  { where: 'trial', id: 'large', keys: ['enter'] },
  { where: 'trial', id: 'small', keys: ['escape'] },
];

/** Parts of the page that have keys, as the list of keys shows them. */
export const PLACES = ['page', 'trial', 'list', 'review'];
export const KEYMAPS = ['own', 'photo'];

const NAMES = {
  arrowright: '→',
  arrowleft: '←',
  arrowup: '↑',
  arrowdown: '↓',
  enter: 'Enter',
  escape: 'Esc',
  delete: 'Del',
  home: 'Home',
  end: 'End',
  ' ': 'Space',
  shift: 'Shift',
  ctrl: 'Ctrl',
  alt: 'Alt',
};

/** A key press as the table names it: ctrl (or ⌘), alt, shift, key. A mark is named by itself, whatever shift does. */
export function keyOf(event) {
  const digit = /^Digit(\d)$/.exec(event.code)?.[1]; // with shift or alt, layouts differ in what it gives
  const key = digit && (event.shiftKey || event.altKey) ? digit : event.key.toLowerCase();
  const mark = key.length === 1 && !/[\p{L}\d ]/u.test(key);
  const held = [(event.ctrlKey || event.metaKey) && 'ctrl', event.altKey && 'alt', event.shiftKey && !mark && 'shift'];
  return [...held.filter(Boolean), key].join('+');
}

const keysOf = (command, map) => (map === 'photo' && command.photo) || command.keys;

/** True where a key press is typing, not a command. */
export function isTyping(event) {
  const where = event.target;
  return (
    where instanceof HTMLElement &&
    (where.isContentEditable || where.matches('input:not([type=checkbox]):not([type=range]), textarea, select'))
  );
}

/** Does what the table names for a key press; `handlers`: command → function of (key without modifiers, event).
 * True where the key is a command here, whether or not it was done. */
export function press(where, event, handlers) {
  const key = keyOf(event);
  const map = store.keymap.peek();
  const command = COMMANDS.find((one) => one.where === where && keysOf(one, map).includes(key) && handlers[one.id]);
  if (!command) return false;
  event.preventDefault();
  if (!event.repeat || command.repeats) handlers[command.id](key.split('+').at(-1) || '+', event);
  return true;
}

/** A key as people know it: ['Ctrl', 'Z']. */
export const keyNames = (key) =>
  (key.length > 1 ? key.split('+') : [key]).map((part) => NAMES[part] ?? part.toUpperCase());

/** Keys of a command, each as `keyNames` gives it. */
export function shownKeys(command) {
  const map = store.keymap.value;
  const own = map === 'photo' && command.photo ? command.photo : (command.shown ?? command.keys);
  return own.map(keyNames);
}

/** The first key of a command in words, for labels: 'Shift R'. */
export function keyLabel(where, id) {
  const command = COMMANDS.find((one) => one.where === where && one.id === id);
  return shownKeys(command)[0].join(' ');
}
