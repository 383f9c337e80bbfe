/** The report's numbers in plain words. */

import { element, short } from "./elements.js";

const percent = (value, digits = 2) => `${(100 * value).toFixed(digits)} %`;

/** What a noise is: of the whole image, or of one of its channels. Reports of before the black level was looked for have none. */
function noise(of) {
  const black = of.black_native ?? null;
  const native = `in the file's units ${short(of.alpha_native)} and ${short(of.sigma_native)}${black === null ? "" : ` at brightness ${short(black)}`}`;
  return [`${percent(of.noise_std_in)} of the range`, `α ${short(of.alpha)}, σ ${short(of.sigma)}; ${native}`];
}

function findings(report) {
  const channels = report.channels ?? [];
  return [
    [channels.length ? "Noise before, at most" : "Noise before", ...noise(report)],
    ...channels.map((channel, index) => [`Channel ${index + 1}`, ...noise(channel)]),
    ["Error left, estimated", `${percent(report.noise_std_out)} of the range`, ""],
    ["Brightness moved by", percent(report.residual_mean, 3), "0 is unbiased"],
    ["Taken out over expected", report.residual_std_ratio.toFixed(3), "1: as much as there was noise"],
    ["Is it white?", report.residual_autocorrelation.map((value) => value.toFixed(3)).join(", "), "autocorrelation at 1, 2, 3 pixels; 0 is white noise"],
    ["Resembles the image", report.residual_signal_correlation.toFixed(3), "0: no structure was taken away"],
    ["Clipped pixels", percent(report.clipped_share), "noise there cannot be told"],
    ...(report.left_share ? [["Left as they were", percent(report.left_share), "pixels far outside the brightness of the others"]] : []),
  ];
}

export function showReport(place, report) {
  const warnings = report.warnings.length
    ? report.warnings.map((text) => element("p", { className: "warning" }, text[0].toUpperCase() + text.slice(1)))
    : [element("p", { className: "fine" }, "No warnings: what was taken out looks like noise.")];
  const rows = findings(report).map(([name, value, meaning]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value), element("td", { className: "muted" }, meaning)));
  const whose = report.channels?.length
    ? [element("p", { className: "muted" }, "Each channel was normalised by itself. “Error left” to “Resembles the image” are of the noisiest one.")]
    : [];
  place.replaceChildren(element("h3", {}, "What was found"), ...warnings, element("table", {}, element("tbody", {}, ...rows)), ...whose);
}
