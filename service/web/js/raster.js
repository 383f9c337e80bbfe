/** Pixels as they are in the file: {width, height, channels, pages: [typed array, …], integer}. Channels interleave. */

import { readPng16 } from "./png.js";
import { readTiff } from "./tiff.js";
import { Unreadable } from "./unreadable.js";

const MOST_PIXELS = 60e6;

/** Decode a file. 8-bit formats are left to the browser; 16-bit PNG and TIFF are read here, since a canvas has 8 bits. */
export async function readRaster(blob) {
  const head = new Uint8Array(await blob.slice(0, 32).arrayBuffer());
  const png = head[0] === 0x89 && head[1] === 0x50;
  if (png && head[24] === 16) return readPng16(new Uint8Array(await blob.arrayBuffer()));
  if ((head[0] === 0x49 && head[1] === 0x49) || (head[0] === 0x4d && head[1] === 0x4d)) return readTiff(await blob.arrayBuffer());
  return byBrowser(blob);
}

async function byBrowser(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" }).catch(() => {
    throw new Unreadable("Browsers do not show this format.");
  });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Unreadable("The image is too large to be shown here.");
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return { width, height, channels: 3, pages: [rgb], integer: true };
}

/** The part that begins at x, y of every page. */
export function cropped(whole, x, y, width, height) {
  const { channels } = whole;
  const pages = whole.pages.map((page) => {
    const copy = new page.constructor(width * height * channels);
    for (let line = 0; line < height; line++) {
      const from = ((y + line) * whole.width + x) * channels;
      copy.set(page.subarray(from, from + width * channels), line * width * channels);
    }
    return copy;
  });
  return { ...whole, width, height, pages };
}

/** The part {x, y, width, height} of every page of `whole` replaced by `part`. */
export function pasted(whole, part, x, y) {
  const pages = whole.pages.map((page, index) => {
    const copy = page.slice();
    const row = part.width * part.channels;
    for (let line = 0; line < part.height; line++) {
      const from = part.pages[index].subarray(line * row, (line + 1) * row);
      copy.set(from, ((y + line) * whole.width + x) * whole.channels);
    }
    return copy;
  });
  return { ...whole, pages };
}
