/** Pixels as they are in the file: {width, height, channels, pages: [typed array, …], integer}, and `orientation` where the eye turns them. Channels interleave; they are 1 or 3. */

import { asStored } from "./orientation.js";
import { readPng16 } from "./png.js";
import { readTiff } from "./tiff.js";
import { Unreadable } from "./unreadable.js";

const MOST_PIXELS = 60e6;

/** Decode a file. 8-bit formats are left to the browser; 16-bit PNG and TIFF are read here, since a canvas has 8 bits. */
export async function readRaster(blob) {
  const head = new Uint8Array(await blob.slice(0, 32).arrayBuffer());
  const png = head[0] === 0x89 && head[1] === 0x50;
  if (png && head[24] === 16) return readPng16(new Uint8Array(await blob.arrayBuffer()));
  if ((head[0] === 0x49 && head[1] === 0x49) || (head[0] === 0x4d && head[1] === 0x4d)) return shown(await readTiff(await blob.arrayBuffer()));
  return byBrowser(blob);
}

/** Without the channels that are not shown: transparency, and those beyond three. */
function shown(raster) {
  const colours = raster.channels < 3 ? 1 : 3;
  if (raster.channels === colours) return raster;
  return withChannels(raster, colours, (from, channel) => from + channel);
}

/** Two rasters with as many channels each: a gray one gets three if the other has them. */
export function alike(a, b) {
  if (a.channels === b.channels) return [a, b];
  return [a, b].map((raster) => (raster.channels === 1 ? withChannels(raster, 3, (from) => from) : raster));
}

function withChannels(raster, channels, place) {
  const pages = raster.pages.map((page) => {
    const copy = new page.constructor(raster.width * raster.height * channels);
    for (let from = 0, to = 0; to < copy.length; from += raster.channels) {
      for (let channel = 0; channel < channels; channel++) copy[to++] = page[place(from, channel)];
    }
    return copy;
  });
  return { ...raster, channels, pages };
}

async function byBrowser(file) {
  const { blob, orientation } = await asStored(file);
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" }).catch(() => {
    throw new Unreadable("Browsers do not show this format.");
  });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Unreadable("The image is too large to be shown here.");
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const channels = isGray(rgba) ? 1 : 3;
  const page = new Uint8Array(channels * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    for (let channel = 0; channel < channels; channel++) page[to++] = rgba[from + channel];
  }
  return { width, height, channels, pages: [page], integer: true, orientation };
}

function isGray(rgba) {
  for (let at = 0; at < rgba.length; at += 4) if (rgba[at] !== rgba[at + 1] || rgba[at] !== rgba[at + 2]) return false;
  return true;
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

/** Every page of `under` with `over` at x, y. */
export function pasted(under, over, x, y) {
  const [whole, part] = alike(under, over);
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
