/** Small charts as SVG: lines, dashed lines and dots over labelled axes. Told apart by form, not by colour alone. */

import { element, short } from "./elements.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [340, 190];
const PLOT = { left: 52, right: WIDTH - 12, top: 10, bottom: HEIGHT - 34 };
const TICKS = 4;
const HEADROOM = 1.06; // so that a level line does not lie on the frame

/**
 * A figure. `series`: [{ name, kind: "line" | "dashed" | "dots", points: [[x, y], …] }]; `summary` says in words what
 * it shows, for those who cannot see it; `fromZero` lets the upward axis begin at zero, `top` ends it.
 */
export function chart({ title, summary, across, upward, series, fromZero = false, top = Infinity }) {
  const all = series.flatMap(({ points }) => points).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && y <= top);
  const x = axis(all.map(([value]) => value), PLOT.left, PLOT.right);
  const highest = all.reduce((most, [, value]) => Math.max(most, value), 0);
  const y = axis([...all.map(([, value]) => value), ...(fromZero ? [0, highest * HEADROOM] : [])], PLOT.bottom, PLOT.top);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary });
  for (const value of y.ticks) {
    svg.append(drawn("line", { class: "grid", x1: PLOT.left, x2: PLOT.right, y1: y.at(value), y2: y.at(value) }));
    svg.append(words(y.label(value), PLOT.left - 5, y.at(value) + 4, "end"));
  }
  for (const value of x.ticks) svg.append(words(x.label(value), x.at(value), PLOT.bottom + 14, "middle"));
  svg.append(words(across, (PLOT.left + PLOT.right) / 2, HEIGHT - 5, "middle"));
  series.forEach(({ kind, points }, index) => {
    const places = points.filter(([, value]) => value <= top).map((point) => [x.at(point[0]), y.at(point[1])].map((v) => v.toFixed(1)));
    if (kind === "dots") for (const [cx, cy] of places) svg.append(drawn("circle", { class: `tone-${index}`, cx, cy, r: 2.5 }));
    else svg.append(drawn("polyline", { class: `tone-${index} ${kind}`, points: places.map((place) => place.join(",")).join(" ") }));
  });
  const legend = series.length > 1 ? [element("span", { className: "legend" }, ...series.flatMap(({ name, kind }, index) => [sample(kind, index), ` ${name} `]))] : [];
  return element("figure", {}, element("figcaption", {}, element("strong", {}, title), ` ${upward} `, ...legend), svg);
}

/** Where values lie between two edges, and round numbers to label them. */
function axis(values, from, to) {
  let [low, high] = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [0, 1];
  if (high - low < 1e-9 * Math.max(Math.abs(high), 1e-9)) [low, high] = low > 0 ? [low * 0.9, high * 1.1] : [low - 0.5, high + 0.5];
  const rough = (high - low) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(n * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const label = (value) => (digits > 4 ? short(value) : value.toFixed(digits));
  return { ticks, label, at: (value) => from + ((value - low) / (high - low)) * (to - from) };
}

function sample(kind, index) {
  const svg = drawn("svg", { viewBox: "0 0 24 10", class: "sample", "aria-hidden": "true" });
  svg.append(kind === "dots" ? drawn("circle", { class: `tone-${index}`, cx: 12, cy: 5, r: 3 }) : drawn("polyline", { class: `tone-${index} ${kind}`, points: "0,5 24,5" }));
  return svg;
}

function words(text, x, y, anchor) {
  const made = drawn("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
