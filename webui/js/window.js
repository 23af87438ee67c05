// Owns what is special in the program's own window: the bridge without eval, dropped paths, menu, zoom keys.
import { enterPath, resume, retryFailed, saveAll, start, stop, chooseFolder } from './actions.js';
import { call } from './api.js';
import { showKeys } from './keys.js';
import { openReview } from './reviewing.js';
import { focusIndex, inputPath } from './store.js';

const ZOOM_STEPS = [0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 1.75, 2];

/**
 * Lets pywebview make its API under a CSP without `unsafe-eval`: the functions that it would compile from text are
 * closures here. Must run before the bridge is put into the page.
 */
export function prepareBridge() {
  let bridge = window.pywebview;
  const mend = (made) => {
    bridge = made;
    if (made) made._createApi = (functions) => functions.forEach(({ func }) => addFunction(made, func));
  };
  mend(bridge);
  Object.defineProperty(window, 'pywebview', { configurable: true, get: () => bridge, set: mend });
}

function addFunction(bridge, name) {
  bridge._returnValuesCallbacks[name] = {};
  bridge.api[name] = (...values) => new Promise((resolve, reject) => {
    const id = crypto.randomUUID();
    bridge._checkValue(name, resolve, reject, id);
    bridge._jsApiCallback(name, values, id);
  });
}

/** Begins to listen; in a browser none of these events comes, and keys stay the browser's. */
export function startWindow() {
  const menu = {
    'choose-folder': () => chooseFolder(inputPath.peek()),
    'save-all': () => saveAll(),
    start,
    stop,
    resume,
    'retry-failed': retryFailed,
    review: () => openReview(focusIndex.peek()),
    keys: showKeys,
    'zoom-in': () => zoom(1),
    'zoom-out': () => zoom(-1),
    'zoom-reset': () => zoom(0),
  };
  addEventListener('console:menu', (event) => menu[event.detail]?.());
  addEventListener('console:path', (event) => enterPath(event.detail, { now: true }));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', dropped);
  addEventListener('keydown', zoomKeys);
}

/** The toolkit has noted the path of what was dropped; the page's own event does not name it. */
async function dropped(event) {
  event.preventDefault();
  if (window.pywebview?.platform === 'edgechromium') {
    window.pywebview._jsApiCallback('pywebviewEventHandler', { event, nodeId: '' }, '');
  }
  const path = await call('dropped_path', {});
  if (path) enterPath(path, { now: true });
}

function zoomKeys(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const step = { '+': 1, '=': 1, '-': -1, 0: 0 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  zoom(step);
}

function zoom(step) {
  const root = document.documentElement;
  const now = ZOOM_STEPS.indexOf(Number(root.style.zoom || 1));
  const next = step === 0 ? 4 : Math.min(ZOOM_STEPS.length - 1, Math.max(0, now + step));
  root.style.zoom = ZOOM_STEPS[next];
}
