// Owns the difference of two pictures as a heat map; pure apart from drawing on canvases.

const EDGE = 1280; // pixels of the longer side that are compared
const STOPS = [
  [0, [12, 16, 36]],
  [0.08, [30, 60, 140]],
  [0.25, [40, 160, 170]],
  [0.5, [235, 205, 60]],
  [0.75, [235, 110, 40]],
  [1, [255, 245, 235]],
];

/** 256 colours from "the same" to "quite different", as bytes r, g, b. */
export function palette() {
  const table = new Uint8Array(256 * 3);
  for (let value = 0; value < 256; value += 1) {
    const at = value / 255;
    const above = STOPS.findIndex(([stop]) => stop >= at);
    const [low, from] = STOPS[Math.max(0, above - 1)];
    const [high, to] = STOPS[above];
    const part = high === low ? 0 : (at - low) / (high - low);
    for (let channel = 0; channel < 3; channel += 1)
      table[value * 3 + channel] = from[channel] + (to[channel] - from[channel]) * part;
  }
  return table;
}

/** Writes the heat of each pixel of `a` against `b` (RGBA bytes) into `out`; gives the share of changed pixels. */
export function compare(a, b, out, colours, gain = 2) {
  let changed = 0;
  for (let at = 0; at < a.length; at += 4) {
    const difference = Math.max(
      Math.abs(a[at] - b[at]),
      Math.abs(a[at + 1] - b[at + 1]),
      Math.abs(a[at + 2] - b[at + 2]),
    );
    if (difference > 12) changed += 1;
    const heat = Math.min(255, difference * gain) * 3;
    out[at] = colours[heat];
    out[at + 1] = colours[heat + 1];
    out[at + 2] = colours[heat + 2];
    out[at + 3] = 255;
  }
  return a.length ? changed / (a.length / 4) : 0;
}

function pixels(image, width, height) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  pen.fillStyle = '#808080'; // under transparent parts
  pen.fillRect(0, 0, width, height);
  pen.drawImage(image, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height);
}

/** A canvas with the heat map of two loaded images, and the share of changed pixels; the source is stretched. */
export function heatMap(source, result) {
  const scale = Math.min(1, EDGE / Math.max(result.naturalWidth, result.naturalHeight));
  const width = Math.max(1, Math.round(result.naturalWidth * scale));
  const height = Math.max(1, Math.round(result.naturalHeight * scale));
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const pen = canvas.getContext('2d');
  const out = pen.createImageData(width, height);
  const share = compare(pixels(source, width, height).data, pixels(result, width, height).data, out.data, palette());
  pen.putImageData(out, 0, 0);
  return { canvas, share };
}
