// Owns full-size pictures that are loaded and decoded ahead of the review view.
import { memory } from './store.js';

const KEEP = 24;
const { pictures: held, pictureFacts: facts } = memory;

/** Loads and decodes a picture; `ready` gives the image or fails. */
export function preload(url) {
  const known = held.get(url);
  if (known) {
    held.delete(url);
    held.set(url, known);
    return known;
  }
  const image = new Image();
  image.decoding = 'sync';
  image.draggable = false;
  image.alt = '';
  image.src = url;
  const entry = {
    image,
    ready: image.decode().then(() => {
      note(url, image);
      return image;
    }),
  };
  entry.ready.catch(() => held.delete(url));
  held.set(url, entry);
  for (const [old, one] of held) {
    if (held.size <= KEEP) break;
    if (!one.image.isConnected) held.delete(old);
  }
  return entry;
}

/** An image element of `url` that may be put into the page. */
export async function shown(url) {
  const image = await preload(url).ready;
  return image.isConnected ? image.cloneNode() : image;
}

function note(url, image) {
  const entry = performance.getEntriesByName(image.src, 'resource').at(-1);
  if (facts.size > 2000) facts.clear();
  facts.set(url, {
    width: image.naturalWidth,
    height: image.naturalHeight,
    bytes: entry?.encodedBodySize || facts.get(url)?.bytes,
  });
}

/** Pixels and bytes of a picture that was loaded; `bytes` is undefined where the browser does not tell. */
export const factsOf = (url) => facts.get(url);

/** Forgets all pictures. */
export function forget() {
  held.clear();
}

performance.addEventListener?.('resourcetimingbufferfull', () => performance.clearResourceTimings());
