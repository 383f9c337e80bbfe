/** Two rasters of one size on a canvas, split by a divider; zoom and pan in sync since both are drawn by one transform. */

import { listen } from "./gestures.js";
import { turn } from "./orientation.js";
import { alike } from "./raster.js";
import { blended, range, residual, stretched } from "./tones.js";

const MOST_SCALE = 64;
const LEAST_SCALE = 0.01;
const CONTRAST_TAIL = 0.002; // of each end that auto-contrast lets clip

export class Viewer {
  constructor(canvas) {
    this.canvas = canvas;
    this.view = "split";
    this.split = 0.5;
    this.page = 0;
    this.share = 1; // of what was taken out that stays out
    this.gain = 1; // of the residual
    this.flipped = false;
    this.onMove = () => {}; // zoom, pan or divider have changed
    this.onPoint = () => {}; // hears { x, y, before, after } of the pixel under the cursor, or null
    listen(this);
    new ResizeObserver(() => this.#resized()).observe(canvas);
  }

  /** Show `before` and `after` (or null while there is none yet); `keep` leaves zoom, page and window as they are. `taken` is what was taken out, where that was drawn elsewhere. */
  show(before, after, keep = false, taken = null) {
    this.taken = taken;
    [this.before, this.after] = after ? alike(before, after) : [before, null];
    if (!keep) {
      this.page = 0;
      const eight = before.pages[0] instanceof Uint8Array;
      [this.low, this.high] = eight ? [0, 255] : range(before, CONTRAST_TAIL);
      const [least, most] = eight ? [0, 255] : range(before, 0);
      [this.least, this.most] = [Math.min(least, this.low), Math.max(most, this.high)];
      this.#place();
    }
    this.#paint();
    this.onMove();
  }

  set(values) {
    Object.assign(this, values);
    if (!this.before) return;
    if ("split" in values) this.draw();
    else this.#paint();
  }

  /** Black and white where the page's own darkest and brightest values are, a fifth of a percent at each end aside. */
  contrast() {
    const [low, high] = range(this.before, CONTRAST_TAIL, this.page);
    this.set({ low, high });
  }

  /** Width and height of the image as it is seen. */
  get size() {
    const { width, height, orientation = 1 } = this.before;
    return orientation < 5 ? [width, height] : [height, width];
  }

  /** Where the divider is, in pixels from the left; null where there is none. */
  get edge() {
    return this.view === "split" && this.after && !this.flipped ? this.split * this.canvas.getBoundingClientRect().width : null;
  }

  /** The part of the image in view, in whole pixels as stored: {x, y, width, height}. */
  inView() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const clamp = (value, most) => Math.max(0, Math.min(most, Math.floor(value)));
    const [across, down] = this.size;
    const [x, y] = [clamp(-this.left / this.scale, across - 1), clamp(-this.top / this.scale, down - 1)];
    const right = Math.max(x + 1, clamp((width - this.left) / this.scale, across));
    const bottom = Math.max(y + 1, clamp((height - this.top) / this.scale, down));
    const [from, to] = [this.#stored({ x, y }), this.#stored({ x: right, y: bottom })];
    const [left, top] = [Math.round(Math.min(from.x, to.x)), Math.round(Math.min(from.y, to.y))];
    return { x: left, y: top, width: Math.round(Math.abs(to.x - from.x)), height: Math.round(Math.abs(to.y - from.y)) };
  }

  /** Tell of the pixel under a place of the canvas; null is none. */
  point(place) {
    if (!this.before) return;
    const [across, down] = this.size;
    const seen = place && { x: (place.x - this.left) / this.scale, y: (place.y - this.top) / this.scale };
    if (!seen || seen.x < 0 || seen.y < 0 || seen.x >= across || seen.y >= down) return this.onPoint(null);
    const stored = this.#stored({ x: Math.floor(seen.x) + 0.5, y: Math.floor(seen.y) + 0.5 });
    const [x, y] = [Math.floor(stored.x), Math.floor(stored.y)];
    this.onPoint({ x, y, before: this.#values(this.before, x, y), after: this.#shown && this.#values(this.#shown, x, y) });
  }

  pan(across, down) {
    if (!this.before) return;
    [this.left, this.top] = [this.left + across, this.top + down];
    this.#moved();
  }

  /** Whether a zoom by `factor` changes anything: not out beyond the whole image, nor in beyond the most. */
  zooms(factor) {
    return Boolean(this.before) && (factor > 1 ? this.scale < MOST_SCALE : this.scale > Math.min(1, this.#whole) * 1.001);
  }

  zoom(factor, x, y) {
    if (!this.before) return;
    const scale = Math.max(LEAST_SCALE, Math.min(MOST_SCALE, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.#moved();
  }

  /** The whole image, or one pixel to one around a place: whichever it is not. */
  toggle(x, y) {
    if (!this.before) return;
    if (Math.abs(this.scale / this.#whole - 1) < 0.01) this.zoom((this.#whole < 1 ? 1 : 2 * this.#whole) / this.scale, x, y);
    else this.fit();
  }

  fit() {
    if (!this.before) return;
    this.#place();
    this.#moved();
  }

  divide(x) {
    if (this.edge === null) return;
    this.split = Math.max(0, Math.min(1, x / this.canvas.getBoundingClientRect().width));
    this.#moved();
  }

  /** Show nothing but before while `on`. */
  flip(on) {
    if (this.flipped === on || !this.before) return;
    this.flipped = on;
    this.#paint();
    this.onMove();
  }

  draw() {
    if (!this.pictures) return;
    const { canvas } = this;
    const box = canvas.getBoundingClientRect();
    const ratio = devicePixelRatio;
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = this.scale < 1;
    const [left, right] = this.pictures;
    const edge = this.edge !== null && right ? this.split * canvas.width : canvas.width;
    this.#draw(context, left, 0, edge, ratio);
    if (edge >= canvas.width) return;
    this.#draw(context, right, edge, canvas.width, ratio);
    context.fillStyle = "#fff";
    context.fillRect(edge - ratio, 0, 2 * ratio, canvas.height);
    context.fillStyle = "#000";
    context.fillRect(edge - ratio / 2, 0, ratio, canvas.height);
  }

  #draw(context, picture, from, to, ratio) {
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, context.canvas.height);
    context.clip();
    context.setTransform(this.scale * ratio, 0, 0, this.scale * ratio, this.left * ratio, this.top * ratio);
    context.drawImage(picture, 0, 0);
    context.restore();
  }

  /** After at the strength that is looked at, or null where there is none of this size. */
  get #shown() {
    const { before, after, share } = this;
    if (!after || after.width !== before.width || after.height !== before.height) return null;
    if (this.blend?.after !== after || this.blend.share !== share) this.blend = { after, share, made: blended(before, after, share) };
    return this.blend.made;
  }

  #paint() {
    const { before, page, low, high, gain } = this;
    const shown = this.#shown;
    const taken = () => (this.taken ? stretched(this.taken, 0, 128 - 128 / (gain * this.share || 1e-9), 128 + 127 / (gain * this.share || 1e-9)) : residual(before, shown, page, gain * this.share));
    const both = () => [before, ...(shown ? [shown] : [])].map((raster) => stretched(raster, page, low, high));
    const stored = this.flipped ? [stretched(before, page, low, high)] : this.view === "residual" && shown ? [taken()] : both();
    this.pictures = stored.map((picture) => this.#turned(picture));
    this.draw();
  }

  #turned(picture) {
    const orientation = this.before.orientation ?? 1;
    if (orientation === 1) return picture;
    const seen = new OffscreenCanvas(...this.size);
    const context = seen.getContext("2d");
    context.setTransform(...turn(orientation, picture.width, picture.height));
    context.drawImage(picture, 0, 0);
    return seen;
  }

  /** A place as seen, as it is stored. */
  #stored(place) {
    return new DOMMatrix(turn(this.before.orientation ?? 1, this.before.width, this.before.height)).inverse().transformPoint(place);
  }

  #values({ width, channels, pages }, x, y) {
    const from = (y * width + x) * channels;
    return [...pages[Math.min(this.page, pages.length - 1)].subarray(from, from + channels)];
  }

  /** The scale at which the whole image is in view. */
  get #whole() {
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = this.size;
    return Math.min(box.width / width, box.height / height) || 1;
  }

  #place() {
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = this.size;
    this.scale = this.#whole;
    this.left = (box.width - width * this.scale) / 2;
    this.top = (box.height - height * this.scale) / 2;
    this.fitted = true;
    this.canvas.style.touchAction = "pan-y"; // the whole image has nowhere to go: one finger scrolls the page
  }

  #moved() {
    this.fitted = Math.abs(this.scale / this.#whole - 1) < 0.001;
    this.canvas.style.touchAction = this.fitted ? "pan-y" : "none";
    this.draw();
    this.onMove();
  }

  #resized() {
    if (!this.before) return;
    if (this.fitted) this.#place();
    this.draw();
    this.onMove();
  }
}
