// Owns what is dropped into a browser, which names no path: pictures are brought to the program and looked at there.
import { call, isWindow, knows } from './api.js';
import { deed } from './deed.js';
import { t } from './i18n.js';
import { enterPath } from './inspect.js';
import { toast } from './notices.js';
import * as store from './store.js';

const PICTURE = /\.(png|jpe?g|webp|bmp|gif|tiff?|avif)$/i;
const TOGETHER = 3;

/** Begins to listen; the window has a way of its own, which names paths. */
export function startDrop() {
  if (isWindow() || !knows('drop_picture')) return;
  const isFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
  addEventListener('dragover', (event) => isFiles(event) && event.preventDefault());
  addEventListener('drop', (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...event.dataTransfer.files].map((file) => ({ file, name: file.name }));
    take(entries.length ? Promise.all(entries.map(filesOf)).then((all) => all.flat()) : Promise.resolve(files));
  });
}

/** All files of a folder that was dropped, with their way in it. */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return [{ file, name: entry.fullPath.replace(/^\//, '') }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return (await Promise.all(found.map(filesOf))).flat();
    found.push(...some); // a browser gives a hundred at once
  }
}

const base64 = (file) =>
  new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.onerror = () => fail(reader.error);
    reader.readAsDataURL(file);
  });

const take = (finding) =>
  deed('drop', async () => {
    const files = (await finding).filter((one) => PICTURE.test(one.name));
    if (!files.length) {
      toast(t('page.drop.nothing'), { kind: 'error', topic: 'drop' });
      return;
    }
    const drop = crypto.randomUUID();
    const waiting = [...files];
    let [path, done] = ['', 0];
    const carry = async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        ({ path } = await call('drop_picture', { drop, name: next.name, data: await base64(next.file) }));
        done += 1;
        toast(t('page.drop.taking', { count: files.length, done }), { topic: 'drop' });
      }
    };
    await Promise.all(Array.from({ length: TOGETHER }, carry));
    const tops = new Set(files.map(({ name }) => (name.includes('/') ? name.split('/')[0] : '')));
    const [top] = tops;
    store.place.value = 'connect';
    await enterPath(tops.size === 1 && top ? `${path}/${top}` : path);
  });
