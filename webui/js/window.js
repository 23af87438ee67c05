// Owns what is special in the program's own window: dropped paths, the menu's commands and its keys.
import { call, isWindow } from './api.js';
import { onOneLine } from './clean.js';
import { choosePath, deed } from './deed.js';
import { enterPath } from './inspect.js';
import { showKeys } from './notices.js';
import { openUndecided } from './reviewing.js';
import { resume, retryFailures, start, stop } from './run.js';
import { saveAll } from './saving.js';
import * as store from './store.js';

const ZOOM_STEPS = [0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 1.75, 2];

/** Begins to listen; in a browser none of these events comes, and keys stay the browser's. */
export function startWindow() {
  if (!isWindow()) return;
  const menu = {
    'choose-folder': choose,
    'save-all': () => saveAll(),
    start,
    stop,
    resume,
    'retry-failed': () => retryFailures(),
    review: openUndecided,
    keys: showKeys,
    reload: () => location.reload(),
    'zoom-in': () => zoom(1),
    'zoom-out': () => zoom(-1),
    'zoom-reset': () => zoom(0),
  };
  addEventListener('console:menu', (event) => menu[event.detail]?.());
  addEventListener('dragover', claimDrop);
  addEventListener('drop', dropped);
  addEventListener('keydown', keys);
}

const choose = () =>
  deed('choose', async () => {
    const path = await choosePath('folder', store.forms.plan.peek().input_path);
    if (path) enterPath(path);
  });

/** Files are ours wherever they fall, and nothing may lead the window to another page; text may fall into a field. */
function claimDrop(event) {
  const types = [...event.dataTransfer.types];
  const file = types.includes('Files') || types.includes('text/uri-list');
  if (file || !event.target.closest?.('input, textarea')) event.preventDefault();
  return file;
}

/** The toolkit has noted the path of what was dropped; the page's own event does not name it. */
async function dropped(event) {
  if (!claimDrop(event)) return;
  if (window.pywebview?.platform === 'edgechromium') {
    window.pywebview._jsApiCallback('pywebviewEventHandler', { event, nodeId: '' }, '');
  }
  const path = await call('dropped_path', {});
  if (path) enterPath(onOneLine(path));
}

/** The keys that the menu names. */
function keys(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const run = {
    '+': () => zoom(1),
    '=': () => zoom(1),
    '-': () => zoom(-1),
    0: () => zoom(0),
    o: choose,
    q: () => call('quit', {}),
  }[event.key.toLowerCase()];
  if (!run) return;
  event.preventDefault();
  run();
}

function zoom(step) {
  const root = document.documentElement;
  const now = ZOOM_STEPS.indexOf(Number(root.style.zoom || 1));
  const next = step === 0 ? 4 : Math.min(ZOOM_STEPS.length - 1, Math.max(0, now + step));
  root.style.zoom = ZOOM_STEPS[next];
}
