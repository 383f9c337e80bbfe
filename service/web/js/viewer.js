/** Two rasters of one size on a canvas, split by a slider; zoom and pan in sync since both are drawn by one transform. */

import { turn } from "./orientation.js";
import { alike } from "./raster.js";

const SAMPLED = 200_000;
const SLOWEST_SCALE = 64;

export class Viewer {
  constructor(canvas) {
    this.canvas = canvas;
    this.view = "split";
    this.split = 0.5;
    this.page = 0;
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Show `before` and `after` (or null while there is none yet); `keep` leaves zoom, page and window as they are. */
  show(before, after, keep = false) {
    [this.before, this.after] = after ? alike(before, after) : [before, null];
    if (!keep) {
      this.page = 0;
      [this.least, this.most] = range(before, 0);
      [this.low, this.high] = before.pages[0] instanceof Uint8Array ? [0, 255] : range(before, 0.002);
      [this.least, this.most] = [Math.min(this.least, this.low), Math.max(this.most, this.high)];
      this.#fit();
    }
    this.#paint();
  }

  set(values) {
    Object.assign(this, values);
    if ("split" in values) this.draw();
    else this.#paint();
  }

  /** Width and height of the image as it is seen. */
  get size() {
    const { width, height, orientation = 1 } = this.before;
    return orientation < 5 ? [width, height] : [height, width];
  }

  /** The part of the image in view, in whole pixels as stored: {x, y, width, height}. */
  inView() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const clamp = (value, most) => Math.max(0, Math.min(most, Math.floor(value)));
    const [across, down] = this.size;
    const [x, y] = [clamp(-this.left / this.scale, across - 1), clamp(-this.top / this.scale, down - 1)];
    const right = Math.max(x + 1, clamp((width - this.left) / this.scale, across));
    const bottom = Math.max(y + 1, clamp((height - this.top) / this.scale, down));
    const back = new DOMMatrix(turn(this.before.orientation ?? 1, this.before.width, this.before.height)).inverse();
    const [from, to] = [back.transformPoint({ x, y }), back.transformPoint({ x: right, y: bottom })];
    const [left, top] = [Math.round(Math.min(from.x, to.x)), Math.round(Math.min(from.y, to.y))];
    return { x: left, y: top, width: Math.round(Math.abs(to.x - from.x)), height: Math.round(Math.abs(to.y - from.y)) };
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
    const edge = this.view === "split" && right ? this.split * canvas.width : canvas.width;
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

  #paint() {
    const { before, after, page, low, high } = this;
    const shown = after && after.width === before.width && after.height === before.height ? after : null;
    const stored = this.view === "residual" && shown ? [residual(before, shown, page)] : [before, ...(shown ? [shown] : [])].map((raster) => stretched(raster, page, low, high));
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

  #fit() {
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = this.size;
    this.scale = Math.min(box.width / width, box.height / height) || 1;
    this.left = (box.width - width * this.scale) / 2;
    this.top = (box.height - height * this.scale) / 2;
  }

  #zoom(factor, x, y) {
    const scale = Math.max(0.01, Math.min(SLOWEST_SCALE, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.draw();
  }

  #listen() {
    const { canvas } = this;
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      held = [event.clientX - this.left, event.clientY - this.top];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      [this.left, this.top] = [event.clientX - held[0], event.clientY - held[1]];
      this.draw();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = null));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const box = this.canvas.getBoundingClientRect();
    const middle = [box.width / 2, box.height / 2];
    const step = 40;
    const actions = {
      "+": () => this.#zoom(1.25, ...middle), "=": () => this.#zoom(1.25, ...middle), "-": () => this.#zoom(0.8, ...middle),
      0: () => this.#fit(), 1: () => this.#zoom(1 / this.scale, ...middle),
      ArrowLeft: () => (this.left += step), ArrowRight: () => (this.left -= step),
      ArrowUp: () => (this.top += step), ArrowDown: () => (this.top -= step),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    actions[event.key]();
    this.draw();
  }
}

/** Values at the `tail` and 1 − `tail` quantile of a sample of the first page, of whole pixels so that every channel counts. */
function range({ channels, pages: [values] }, tail) {
  const step = Math.floor(values.length / SAMPLED) | 1;
  const length = Math.ceil(values.length / channels / step) * channels;
  const value = (_, i) => values[Math.floor(i / channels) * step * channels + (i % channels)];
  const sample = Float64Array.from({ length }, value).filter(Number.isFinite).sort();
  const at = (share) => sample[Math.round(share * (sample.length - 1))] ?? 0;
  const [low, high] = [at(tail), at(1 - tail)];
  return high > low ? [low, high] : [low, low + 1];
}

function stretched({ width, height, channels, pages }, page, low, high) {
  const values = pages[Math.min(page, pages.length - 1)];
  const gain = 255 / (high - low || 1);
  return filled(width, height, (pixels) => {
    const colour = channels >= 3;
    for (let at = 0, from = 0; at < pixels.length; at += 4, from += channels) {
      pixels[at] = (values[from] - low) * gain;
      pixels[at + 1] = colour ? (values[from + 1] - low) * gain : pixels[at];
      pixels[at + 2] = colour ? (values[from + 2] - low) * gain : pixels[at];
    }
  });
}

/** before − after, grey is zero, black and white are four standard deviations. */
function residual(before, after, page) {
  const [a, b] = [before.pages[page], after.pages[Math.min(page, after.pages.length - 1)]];
  let squares = 0;
  for (let i = 0; i < a.length; i += 7) squares += (a[i] - b[i]) ** 2;
  const gain = 127 / (4 * Math.sqrt(squares / Math.ceil(a.length / 7)) || 1);
  const { width, height, channels } = before;
  const colour = channels >= 3;
  return filled(width, height, (pixels) => {
    for (let at = 0, from = 0; at < pixels.length; at += 4, from += channels) {
      for (let c = 0; c < 3; c++) pixels[at + c] = 128 + gain * (a[from + (colour ? c : 0)] - b[from + (colour ? c : 0)]);
    }
  });
}

function filled(width, height, fill) {
  const image = new ImageData(width, height);
  new Uint32Array(image.data.buffer).fill(0xff000000);
  fill(image.data);
  const picture = new OffscreenCanvas(width, height);
  picture.getContext("2d").putImageData(image, 0, 0);
  return picture;
}
