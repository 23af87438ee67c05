// Owns every call to the program: the same names and answers by the window's bridge and by HTTP.
import { makeGuard } from './late.js';
import { memory } from './store.js';

/** Method and path of each operation by name: the program's own table, which it writes into the page. */
const OPERATIONS = JSON.parse(document.getElementById('operations').textContent);
const MOST_ROWS_TOLD = 200; // beyond that the page asks for the rows it shows

/** Address of the file that `export_presets` gives. */
export const exportUrl = () => passing(OPERATIONS.export_presets[1]);

/** Address of the event stream in the page's language; with `since`, of what was missed since that revision. */
export function eventsUrl(since) {
  return passing(OPERATIONS.events[1] + query({ limit: MOST_ROWS_TOLD, language: door.language, since }));
}

/** A refusal of the program: `code` is stable, `message` is for people, `field` names the control. */
export class ApiError extends Error {
  constructor({ code, message, field = null, params = {} }, status = 0) {
    super(message || code);
    this.code = code;
    this.field = field;
    this.params = params;
    this.status = status;
  }
}

const { door } = memory;
const inWindow = new URLSearchParams(location.search).get('window') === '1';

/** What the program gave at the first visit: `script` for the header, `pass` for addresses that take no header. */
const access = takeAccess();

function takeAccess() {
  const given = /^#access=(\w+)\.(\w+)$/.exec(location.hash);
  if (given) history.replaceState(history.state, '', location.pathname + location.search);
  const fresh = given && { script: given[1], pass: given[2] };
  try {
    // of this origin, port included: no other program on this machine finds it
    if (fresh) localStorage.setItem('access', JSON.stringify(fresh));
    return fresh ?? JSON.parse(localStorage.getItem('access')) ?? {};
  } catch {
    return fresh ?? {}; // nothing can be kept here, or something else was
  }
}

/** An address of the program with parameters added. */
export const withQuery = (url, params) => url + (url.includes('?') ? query(params).replace('?', '&') : query(params));

/** An address that the program answers without a header. */
const passing = (url) => withQuery(url, { pass: access.pass });

/** What the program told, with the pass in each address of a picture. */
export function admit(data) {
  if (!access.pass || data === null || typeof data !== 'object') return data;
  for (const [name, value] of Object.entries(data)) {
    if (typeof value === 'object') admit(value);
    else if (name.endsWith('_url') && value?.startsWith?.('/')) data[name] = passing(value);
  }
  return data;
}

function headers() {
  const { project } = memory.stream; // the program changes nothing in another one that a page does not show yet
  return {
    'Accept-Language': door.language,
    ...(project && { 'X-Project': project }),
    ...(access.script && { 'X-Access-Token': access.script }),
  };
}

/** The language in which the program's messages are asked for. */
export function speak(lang) {
  door.language = lang;
}

/** True where the page stands in the program's own window. */
export function isWindow() {
  return door.bridge !== null;
}

/** Waits for the window's bridge where there is one; a browser goes on at once. */
export async function openDoor() {
  if (!inWindow) return;
  if (!window.pywebview?.api?.get_state) {
    // the bridge is there a moment before its functions are
    await Promise.race([
      new Promise((done) => window.addEventListener('pywebviewready', done, { once: true })),
      new Promise((done) => setTimeout(done, 5000)),
    ]);
  }
  door.bridge = window.pywebview?.api ?? null;
}

/** Calls an operation; gives its data or throws ApiError. */
export async function call(name, params = {}, { signal } = {}) {
  if (door.bridge?.[name]) return callBridge(name, params);
  if (!OPERATIONS[name]) throw new ApiError({ code: 'operation_unknown', message: name });
  return callHttp(name, params, signal);
}

/** Whether this program has an operation: it may be of an older version than the page expects. */
export const knows = (name) => name in OPERATIONS;

/** For what is stored as a whole: one call after the other, and of those that wait only the last. */
export function storing(name) {
  let underway = Promise.resolve();
  const begin = makeGuard();
  return (params) => {
    const stands = begin();
    underway = underway.catch(() => undefined).then(() => (stands() ? call(name, params) : undefined));
    return underway;
  };
}

async function callBridge(name, params) {
  const answer = await door.bridge[name](params, memory.stream.project);
  if (answer?.ok) return admit(answer.data);
  throw new ApiError(answer?.error ?? { code: 'internal', message: name });
}

function fillPath(template, params) {
  const rest = { ...params };
  const path = template.replace(/\{(\w+)\}/g, (_, key) => {
    const value = rest[key];
    delete rest[key];
    return encodeURIComponent(value);
  });
  return [path, rest];
}

function query(params) {
  const pairs = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return pairs.length ? `?${new URLSearchParams(pairs)}` : '';
}

async function callHttp(name, params, signal) {
  const [method, template] = OPERATIONS[name];
  const [path, rest] = fillPath(template, params);
  const request = { method, signal, headers: headers() };
  if (method !== 'GET') {
    request.headers['Content-Type'] = 'application/json';
    request.headers['X-Requested-With'] = 'image-batch-console';
    request.body = JSON.stringify(rest);
  }
  try {
    return await readAnswer(await fetch(method === 'GET' ? path + query(rest) : path, request));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new ApiError({ code: 'server_gone', message: '' }); // before the answer or in the middle of it
  }
}

/** Why a picture did not load, in words; asks for it once more. */
export async function whyNot(url) {
  try {
    await readAnswer(await fetch(url, { headers: headers() }));
  } catch (error) {
    return error instanceof ApiError ? error.message : '';
  }
  return '';
}

async function readAnswer(answer) {
  const type = answer.headers.get('Content-Type') ?? '';
  const body = type.includes('json') ? await answer.json() : null;
  if (answer.ok) return admit(body);
  throw new ApiError(body ?? { code: 'internal', message: `HTTP ${answer.status}` }, answer.status);
}
