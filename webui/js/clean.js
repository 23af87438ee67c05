// Owns what is taken off a pasted entry and what an address is completed with; pure, told by notes in words.

const INVISIBLE = /[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad]/g;
const QUOTES = /^["'“”‘’«»「」`]+|["'“”‘’«»「」`,;]+$/g;
const PATHS = {
  chat_completions: '/chat/completions',
  responses: '/responses',
  images_edits: '/images/edits',
};
const LOCAL = /^(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[?::1)/;

/** A key without what is often pasted with it: {value, notes}. */
export function cleanKey(raw) {
  const notes = [];
  const without = (name, pattern, text) => {
    const left = text.replace(pattern, '');
    if (left !== text) notes.push(name);
    return left;
  };
  let value = without('invisible', INVISIBLE, raw).trim();
  value = without('quotes', QUOTES, value);
  value = without('bearer', /^(authorization:\s*)?bearer\s+/i, value);
  value = without('spaces', /\s+/g, value);
  return { value, notes };
}

/** Several paths, one a line as a file manager copies them, in a field of one line: each in quotes. */
export function onOneLine(text) {
  const lines = text.split(/[\r\n]+/).map((line) => line.trim());
  const paths = lines.filter(Boolean);
  if (paths.length < 2) return text.trim();
  const quoted = (path) => (/^(["']).*\1$/.test(path) ? path : path.includes('"') ? `'${path}'` : `"${path}"`);
  return paths.map(quoted).join(' ');
}

/** An address with scheme and path: a bare host or one that ends in its version gets the path of the mode. */
export function completeUrl(raw, mode) {
  const notes = [];
  let value = raw.replace(INVISIBLE, '').trim().replace(QUOTES, '');
  if (value && !/^[a-z][a-z\d+.-]*:\/\//i.test(value) && /^[\w.[\]:-]+(:\d+)?(\/|$)/.test(value)) {
    value = `${LOCAL.test(value) ? 'http' : 'https'}://${value}`;
    notes.push('scheme');
  }
  let url;
  try {
    url = new URL(value);
  } catch {
    return { value, notes }; // not finished, or wrong: the program says how
  }
  const path = url.pathname.replace(/\/+$/, '');
  const wanted = mode === 'auto' ? PATHS.chat_completions : PATHS[mode];
  if (!wanted || url.search || !(path === '' || /\/v\d+(beta|alpha)?$/.test(path))) return { value, notes };
  notes.push('path');
  return { value: `${url.origin}${path || '/v1'}${wanted}`, notes };
}

/** Whether an address leads to this computer or its network. */
export function isLocal(url) {
  return LOCAL.test(url.replace(/^[a-z]+:\/\//i, ''));
}

/** One entry of the settings without what does not belong to it: {value, notes}. */
export function cleanEntry(name, raw, entered) {
  if (typeof raw === 'string' && raw) {
    if (name === 'api_key') return cleanKey(raw);
    const described = entered.api_mode === 'auto' && entered.recipe?.trim(); // the recipe has the paths
    if (name === 'api_url') return completeUrl(raw, described ? 'recipe' : (entered.api_mode ?? 'auto'));
  }
  return { value: raw, notes: [] };
}
