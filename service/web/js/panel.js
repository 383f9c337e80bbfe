/** What stands around the picture: window and histogram, divider, zoom, pages, residual, and the value under the cursor. */

import { $, short } from "./elements.js";
import { apart, histogram, spread } from "./tones.js";

const BINS = 128;
const FLOAT_STEPS = 1000;
let viewer;
let bars = null; // counts of the page in the viewer, by value from least to most

export function listen(given, onPage) {
  viewer = given;
  viewer.onMove = moved;
  viewer.onPoint = pointed;
  $("split").addEventListener("input", () => {
    viewer.set({ split: Number($("split").value) });
    moved();
  });
  for (const choice of document.querySelectorAll("[name=view]")) choice.addEventListener("change", () => {
    viewer.set({ view: choice.value });
    $("gain-label").hidden = choice.value !== "residual";
    moved();
  });
  for (const name of ["low", "high"]) $(name).addEventListener("input", () => {
    const [low, high] = apart(Number($("low").value), Number($("high").value), name, Number($("low").step));
    viewer.set({ low, high });
    windowed();
  });
  $("gain").addEventListener("input", () => {
    viewer.set({ gain: Number($("gain").value) });
    moved();
  });
  $("contrast").addEventListener("click", () => {
    viewer.contrast();
    windowed();
  });
  $("fit").addEventListener("click", () => viewer.fit());
  $("exact").addEventListener("click", () => {
    const box = viewer.canvas.getBoundingClientRect();
    viewer.zoom(1 / viewer.scale, box.width / 2, box.height / 2);
  });
  for (const [start, end] of [["pointerdown", "pointerup"], ["pointerdown", "pointerleave"], ["keydown", "blur"], ["keydown", "keyup"]]) {
    $("flip").addEventListener(start, (event) => (event.key ?? " ") === " " && viewer.flip(true));
    $("flip").addEventListener(end, () => viewer.flip(false));
  }
  $("page").addEventListener("input", () => onPage(Number($("page").value)));
}

/** Controls for the image now in the viewer, which has `pages` to choose from. */
export function settle(pages, integer) {
  for (const name of ["low", "high"]) {
    $(name).min = viewer.least;
    $(name).max = viewer.most;
    $(name).step = integer ? 1 : (viewer.most - viewer.least) / FLOAT_STEPS;
  }
  $("page-label").hidden = pages < 2;
  $("page").max = pages - 1;
  $("page").value = 0;
  turned(0, pages);
  windowed();
}

/** The page in the viewer is another one. */
export function turned(page, pages) {
  $("page-shown").textContent = `${page + 1} of ${pages}`;
  count();
}

export function count() {
  bars = viewer.before ? histogram(viewer.before, viewer.page, viewer.least, viewer.most, BINS) : null;
  draw();
}

function windowed() {
  for (const name of ["low", "high"]) {
    $(name).value = viewer[name];
    $(`${name}-shown`).textContent = short(viewer[name]);
  }
  draw();
}

function moved() {
  if (!viewer.before) return;
  $("split").value = viewer.split;
  $("zoom").textContent = `${short(100 * viewer.scale)} %`;
  const split = viewer.edge !== null;
  const only = viewer.flipped || !viewer.after ? "Before" : "Taken out";
  $("tag-left").textContent = split ? "Before" : viewer.after ? only : "After";
  $("tag-right").hidden = !split;
  $("gain-shown").textContent = viewer.taken || !viewer.after ? `× ${viewer.gain}` : scale();
}

/** How much of the file's units lies between gray and white in what was taken out. */
function scale() {
  const [a, b] = [viewer.before, viewer.after].map(({ pages }) => pages[Math.min(viewer.page, pages.length - 1)]);
  return `× ${viewer.gain}: white is ${short(spread(a, b) / viewer.gain)} above`;
}

function pointed(pixel) {
  const exact = (value) => (Number.isInteger(value) ? String(value) : short(value));
  const words = (values) => values.map(exact).join(", ");
  $("pixel").textContent = pixel ? `${pixel.x}, ${pixel.y}: ${words(pixel.before)}${pixel.after ? ` → ${words(pixel.after)}` : ""}` : "";
}

function draw() {
  const canvas = $("histogram");
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  if (!bars) return;
  const most = bars.reduce((a, b) => Math.max(a, b), 1);
  const style = getComputedStyle(canvas);
  bars.forEach((count, index) => {
    const value = viewer.least + ((index + 0.5) / BINS) * (viewer.most - viewer.least);
    const inside = value >= viewer.low && value <= viewer.high;
    context.fillStyle = style.getPropertyValue(inside ? "--accent" : "--line");
    const high = height * Math.sqrt(count / most); // or the rare values would not be seen
    context.fillRect((index * width) / BINS, height - high, width / BINS, high);
  });
}
