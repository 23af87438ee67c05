// Owns full-size pictures that are loaded and decoded ahead of the review view.

const KEEP = 24;
const held = new Map(); // url → {image, ready}, the oldest first
const sizes = new Map(); // url → bytes

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
  const entry = { image, ready: image.decode().then(() => { noteSize(url, image.src); return image; }) };
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

function noteSize(url, address) {
  const entry = performance.getEntriesByName(address, 'resource').at(-1);
  if (entry?.encodedBodySize) sizes.set(url, entry.encodedBodySize);
  if (sizes.size > 2000) sizes.clear();
}

/** Bytes of a picture that was loaded; undefined where the browser does not tell. */
export const sizeOf = (url) => sizes.get(url);

/** Forgets all pictures. */
export function forget() {
  held.clear();
}

performance.addEventListener?.('resourcetimingbufferfull', () => performance.clearResourceTimings());
