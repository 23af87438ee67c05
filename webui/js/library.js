// Owns the library of a person's prompts: what was tried or starred, newest first, starred ones for good.
import * as store from './store.js';

const MOST = 200; // prompts that nobody starred

const kept = (prompts) => {
  const plain = prompts.filter((one) => !one.starred).slice(0, MOST);
  return prompts.filter((one) => one.starred || plain.includes(one));
};

/** Takes prompts in, as used now; one that is known moves to the top. */
export function noteUse(texts) {
  const used = [...new Set(texts.map((text) => text.trim()).filter(Boolean))];
  const before = store.library.peek();
  const known = (text) => before.find((one) => one.text === text) ?? { text, starred: false };
  store.library.value = kept([...used.map(known), ...before.filter((one) => !used.includes(one.text))]);
}

/** Stars a prompt, so that it stays; or takes the star away. */
export function star(text) {
  const wanted = text.trim();
  const known = store.library.peek().some((one) => one.text === wanted);
  const all = known ? store.library.peek() : [{ text: wanted, starred: false }, ...store.library.peek()];
  store.library.value = kept(all.map((one) => (one.text === wanted ? { ...one, starred: !one.starred } : one)));
}

export const isStarred = (text) => store.library.value.some((one) => one.starred && one.text === text.trim());

/** Forgets a prompt. */
export function forgetPrompt(text) {
  store.library.value = store.library.peek().filter((one) => one.text !== text);
}

/** Prompts that hold these words, starred ones first. */
export function findPrompts(words) {
  const needle = words.trim().toLowerCase();
  const found = store.library.value.filter((one) => one.text.toLowerCase().includes(needle));
  return [...found.filter((one) => one.starred), ...found.filter((one) => !one.starred)];
}
