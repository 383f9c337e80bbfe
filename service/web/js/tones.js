/** Numbers to what a screen shows: the window of a raster, its histogram, the picture through the window, and what was taken out. */

const SAMPLED = 200_000;
const TABLE = 65_536; // integers of up to 16 bits are looked up
const MIDDLE = 128;
const RESIDUAL_SIGMAS = 4; // standard deviations from middle gray to black or white, at gain 1

/** Whole pixels of a page, so that every channel counts: finite values in ascending order, at most about 200,000. */
function sampled({ channels, pages }, page) {
  const values = pages[Math.min(page, pages.length - 1)];
  const step = Math.floor(values.length / SAMPLED) | 1;
  const length = Math.ceil(values.length / channels / step) * channels;
  const value = (_, i) => values[Math.floor(i / channels) * step * channels + (i % channels)];
  return Float64Array.from({ length }, value).filter(Number.isFinite).sort();
}

/** Values at the `tail` and 1 − `tail` quantile of a page; never the same. */
export function range(raster, tail, page = 0) {
  const sample = sampled(raster, page);
  const at = (share) => sample[Math.round(share * (sample.length - 1))] ?? 0;
  const [low, high] = [at(tail), at(1 - tail)];
  return high > low ? [low, high] : [low, low + 1];
}

/** How many sampled values lie in each of `bins` equal parts of [least, most]. */
export function histogram(raster, page, least, most, bins) {
  const counts = new Uint32Array(bins);
  for (const value of sampled(raster, page)) counts[Math.max(0, Math.min(bins - 1, Math.floor(((value - least) / (most - least || 1)) * bins)))]++;
  return counts;
}

/** A black and a white that keep their order: the one that was moved stops `gap` before the other. */
export function apart(low, high, moved, gap) {
  if (high - low >= gap) return [low, high];
  return moved === "low" ? [high - gap, high] : [low, low + gap];
}

/** before + share · (after − before): what less strength leaves, since strength is a linear blend. */
export function blended(before, after, share) {
  if (share === 1) return after;
  const pages = after.pages.map((page, index) => {
    const from = before.pages[Math.min(index, before.pages.length - 1)];
    return Float32Array.from(page, (value, at) => from[at] + share * (value - from[at]));
  });
  return { ...after, pages };
}

export function stretched({ width, height, channels, pages }, page, low, high) {
  const values = pages[Math.min(page, pages.length - 1)];
  const gain = 255 / (high - low || 1);
  const small = values instanceof Uint8Array || values instanceof Uint16Array;
  const table = small ? Uint8ClampedArray.from({ length: values instanceof Uint8Array ? 256 : TABLE }, (_, value) => (value - low) * gain) : null;
  const tone = table ? (value) => table[value] : (value) => (value - low) * gain;
  return filled(width, height, (pixels) => {
    const colour = channels >= 3;
    for (let at = 0, from = 0; at < pixels.length; at += 4, from += channels) {
      pixels[at] = tone(values[from]);
      pixels[at + 1] = colour ? tone(values[from + 1]) : pixels[at];
      pixels[at + 2] = colour ? tone(values[from + 2]) : pixels[at];
    }
  });
}

/** before − after times `gain`; grey is zero, black and white at gain 1 are four standard deviations. */
export function residual(before, after, page, gain = 1) {
  const [a, b] = [before.pages[page], after.pages[Math.min(page, after.pages.length - 1)]];
  const slope = (gain * (MIDDLE - 1)) / spread(a, b);
  const { width, height, channels } = before;
  const colour = channels >= 3;
  return filled(width, height, (pixels) => {
    for (let at = 0, from = 0; at < pixels.length; at += 4, from += channels) {
      for (let c = 0; c < 3; c++) pixels[at + c] = MIDDLE + slope * (a[from + (colour ? c : 0)] - b[from + (colour ? c : 0)]);
    }
  });
}

/** What lies between middle gray and white in a residual at gain 1, in units of the file. */
export function spread(a, b) {
  let squares = 0;
  for (let i = 0; i < a.length; i += 7) squares += (a[i] - b[i]) ** 2;
  return RESIDUAL_SIGMAS * Math.sqrt(squares / Math.ceil(a.length / 7)) || 1;
}

function filled(width, height, fill) {
  const image = new ImageData(width, height);
  new Uint32Array(image.data.buffer).fill(0xff000000);
  fill(image.data);
  const picture = new OffscreenCanvas(width, height);
  picture.getContext("2d").putImageData(image, 0, 0);
  return picture;
}
