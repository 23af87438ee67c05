// Owns every call to the program: the same names and answers by the window's bridge and by HTTP.

const OPERATIONS = {
  get_state: ['GET', '/api/state'],
  list_tasks: ['GET', '/api/tasks'],
  list_ids: ['GET', '/api/tasks/ids'],
  get_task: ['GET', '/api/tasks/{task_id}'],
  get_task_debug: ['GET', '/api/tasks/{task_id}/debug'],
  inspect_path: ['POST', '/api/tasks/inspect'],
  start_batch: ['POST', '/api/tasks/start'],
  resume_tasks: ['POST', '/api/tasks/resume'],
  retry_task: ['POST', '/api/tasks/{task_id}/retry'],
  retry_task_clear: ['POST', '/api/tasks/{task_id}/retry_clear'],
  retry_failed: ['POST', '/api/tasks/retry_failed'],
  stop: ['POST', '/api/tasks/stop'],
  toggle_result: ['POST', '/api/tasks/{task_id}/results/{result_id}/toggle'],
  delete_result: ['DELETE', '/api/tasks/{task_id}/results/{result_id}'],
  restore_result: ['POST', '/api/tasks/{task_id}/results/{result_id}/restore'],
  delete_task: ['DELETE', '/api/tasks/{task_id}'],
  clear_tasks: ['POST', '/api/tasks/clear'],
  bulk_tasks: ['POST', '/api/tasks/bulk'],
  save_result: ['POST', '/api/tasks/{task_id}/results/{result_id}/save'],
  save_all: ['POST', '/api/tasks/save_all'],
  save_config: ['POST', '/api/config/current'],
  describe_config: ['GET', '/api/config/schema'],
  test_config: ['POST', '/api/config/test'],
  save_preset: ['POST', '/api/presets/save'],
  apply_preset: ['POST', '/api/presets/apply'],
  delete_preset: ['DELETE', '/api/presets/{name}'],
  import_presets: ['POST', '/api/presets/import'],
  list_save_rules: ['GET', '/api/save/rules'],
  preview_names: ['POST', '/api/save/preview'],
  save_rule: ['POST', '/api/save/rule'],
  browse_folder: ['GET', '/api/files'],
  get_ui: ['GET', '/api/ui'],
  save_ui: ['POST', '/api/ui'],
  list_templates: ['GET', '/api/templates'],
  list_trainers: ['GET', '/api/dataset/trainers'],
  preflight: ['POST', '/api/dataset/preflight'],
  list_findings: ['GET', '/api/dataset/findings'],
  export_set: ['POST', '/api/dataset/export'],
  set_report: ['POST', '/api/dataset/report'],
  stop_job: ['POST', '/api/dataset/stop'],
  get_messages: ['GET', '/api/messages/{language}'],
};

/** Address of the file that `export_presets` gives. */
export const EXPORT_URL = '/api/presets/export';
export const EVENTS_URL = '/api/events?limit=200'; // beyond that the page asks for the rows it shows

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

const inWindow = new URLSearchParams(location.search).get('window') === '1';
let language = navigator.language;
let bridge = null;

/** The language in which the program's messages are asked for. */
export function speak(lang) {
  language = lang;
}

/** True where the page stands in the program's own window. */
export function isWindow() {
  return bridge !== null;
}

/** Waits for the window's bridge where there is one; a browser goes on at once. */
export async function openDoor() {
  if (!inWindow) return;
  if (!window.pywebview?.api?.get_state) { // the bridge is there a moment before its functions are
    await Promise.race([
      new Promise((done) => window.addEventListener('pywebviewready', done, { once: true })),
      new Promise((done) => setTimeout(done, 5000)),
    ]);
  }
  bridge = window.pywebview?.api ?? null;
}

/** Calls an operation; gives its data or throws ApiError. */
export async function call(name, params = {}, { signal } = {}) {
  if (bridge?.[name]) return callBridge(name, params);
  if (!OPERATIONS[name]) throw new ApiError({ code: 'operation_unknown', message: name });
  return callHttp(name, params, signal);
}

/** For what is stored as a whole: one call after the other, and of those that wait only the last. */
export function storing(name) {
  let underway = Promise.resolve();
  let turn = 0;
  return (params) => {
    const mine = (turn += 1);
    underway = underway.catch(() => undefined).then(() => (mine === turn ? call(name, params) : undefined));
    return underway;
  };
}

async function callBridge(name, params) {
  const answer = await bridge[name](params);
  if (answer?.ok) return answer.data;
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
  const request = { method, signal, headers: { 'Accept-Language': language } };
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
    await readAnswer(await fetch(url, { headers: { 'Accept-Language': language } }));
  } catch (error) {
    return error instanceof ApiError ? error.message : '';
  }
  return '';
}

async function readAnswer(answer) {
  const type = answer.headers.get('Content-Type') ?? '';
  const body = type.includes('json') ? await answer.json() : null;
  if (answer.ok) return body;
  throw new ApiError(body ?? { code: 'internal', message: `HTTP ${answer.status}` }, answer.status);
}
