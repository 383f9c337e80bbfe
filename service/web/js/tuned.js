/** What came of a fine-tune: its verdict in plain words, its numbers, the noise curve, and the report's picture. */

import * as api from "./api.js";
import { chart } from "./charts.js";
import { $, element, short } from "./elements.js";

const LINE_POINTS = 60;
let picture = "";
let weights = "";

/** Show the report of a fine-tune that has succeeded; the report, or null if `signal` was aborted before it came. */
export async function showTuned(job, signal) {
  const [report, drawn] = await Promise.all([api.json(job.links.report), api.request(job.links.report_picture).then((answer) => answer.blob())]);
  if (signal.aborted) return null;
  const { scores, promoted } = report;
  $("tune-verdict").replaceChildren(
    ...(promoted ? [element("p", { className: "fine" }, `The new model beats its base by ${decibels(scores.gain_db)} on images it did not see.`)] : []),
    ...report.warnings.map((text) => element("p", { className: "warning" }, text)),
    numbers(report),
    ...leftOut(report.files),
  );
  $("tune-charts").append(noiseCurve(report.noise));
  URL.revokeObjectURL(picture);
  picture = URL.createObjectURL(drawn);
  $("tune-picture").src = picture;
  $("tune-picture").alt = `Held-out crops: noisy, by ${report.base_model}, by the new model; estimated ${decibels(scores.base)} and ${decibels(scores.finetuned)}`;
  return report;
}

const decibels = (value) => `${Number(value).toFixed(2)} dB`;

function numbers({ frames, scores, noise, set, base_model: base, from_scratch: scratch, learning }) {
  const trials = (learning?.tried ?? []).map(({ method, score }) => `${method} ${decibels(score)}`).join(", ");
  const rows = [
    ["Held-out images, estimated", `${decibels(scores.base)} by the base, ${decibels(scores.finetuned)} by the new model`, "without clean images; higher is better"],
    ["Gain", `${scores.gain_db >= 0 ? "+" : ""}${decibels(scores.gain_db)}`, `${short(scores.standard_errors)} standard errors; counts from 2 on and 0.05 dB`],
    ...(learning ? [["Method", learning.used, trials ? `the best of a trial: ${trials}` : learning.asked === "auto" ? "chosen by the service" : "as asked"]] : []),
    ...(noise.said ? [["Kind of noise", noise.shape.treated_as === "correlated" ? "shared by neighbours" : "independent", noise.said]] : []),
    ["Noise of the set", `α ${short(noise.alpha)}, σ ${short(noise.sigma)}`, noise.black ? `above a black level of ${short(noise.black)}; normalised` : "normalised"],
    ...(frames?.sentence ? [["Frames", frames.seen > 1 ? `sees ${frames.seen} at once` : frames.pairs ? "learned from each other" : "each by itself", frames.sentence]] : []),
    ["Learned from", `${set.kept} files, ${short(set.pixels / 1e6)} megapixels`, `${scratch ? "from scratch, against" : "from"} ${base}`],
  ];
  return element("table", {}, element("tbody", {}, ...rows.map(([name, value, meaning]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value), element("td", { className: "muted" }, meaning)))));
}

function leftOut(files) {
  const out = files.filter((file) => !file.kept);
  if (!out.length) return [];
  const items = out.map(({ name, reason }) => element("li", {}, `${name}: ${reason}`));
  return [element("details", {}, element("summary", {}, `${out.length} of ${files.length} files were left out`), element("ul", {}, ...items))];
}

/** Variance against brightness as measured, and the fitted line: α·max(x − black, 0) + σ². */
function noiseCurve({ alpha, sigma, black = 0, curve }) {
  const measured = curve.mean.map((mean, index) => [mean, curve.variance[index]]);
  const [left, right] = [Math.min(0, ...curve.mean), Math.max(1, ...curve.mean)];
  const fitted = Array.from({ length: LINE_POINTS + 1 }, (_, index) => {
    const x = left + ((right - left) * index) / LINE_POINTS;
    return [x, alpha * Math.max(x - black, 0) + sigma ** 2];
  });
  // A few bins of few pixels stray far: they must not flatten the rest.
  const usual = measured.map(([, variance]) => variance).sort((a, b) => a - b)[Math.floor(0.9 * measured.length)] ?? 0;
  return chart({
    title: "Noise curve", upward: "variance", across: "brightness, normalised", fromZero: true, top: 1.3 * Math.max(usual, fitted.at(-1)[1]),
    series: [{ name: "measured", kind: "dots", points: measured }, { name: "fitted", kind: "line", points: fitted }],
    summary: `Variance of the noise against brightness, ${measured.length} points, and the fitted line: alpha ${short(alpha)}, sigma ${short(sigma)}, black level ${short(black)}`,
  });
}

/** Save the weights by a request of ours, since a link cannot send a key. */
export async function saveWeights(job, model) {
  URL.revokeObjectURL(weights);
  weights = URL.createObjectURL(await (await api.request(job.links.result)).blob());
  element("a", { href: weights, download: `${model}.safetensors` }).click();
}
