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
    ...(report.missing_share ? [["Measured nothing", percent(report.missing_share), "padding, gaps of the detector, no data: as they were"]] : []),
    ...(report.left_share ? [["Left as they were", percent(report.left_share), "pixels far outside the brightness of the others"]] : []),
    ...(report.regions ?? []).map((at) => ["Do not trust", `rows ${at.y} to ${at.y + at.height - 1}, columns ${at.x} to ${at.x + at.width - 1}`,
      `page ${at.page + 1}, channel ${at.channel + 1}: more was changed than there is noise`]),
  ];
}

/** Warnings that differ in their channel and numbers alone, as one line each that names the channels. */
export function grouped(warnings) {
  const kinds = new Map();
  for (const text of warnings) {
    const [, channel, said] = /^(?:channel (\d+): )?(.*)$/s.exec(text);
    const kind = said.replace(/\d+(\.\d+)?/g, "#");
    if (!kinds.has(kind)) kinds.set(kind, { said, channels: [] });
    if (channel) kinds.get(kind).channels.push(channel);
  }
  return [...kinds.values()].map(({ said, channels }) => {
    const whose = channels.length ? `Channel${channels.length > 1 ? "s" : ""} ${channels.join(", ")}: ` : "";
    return whose + (whose ? said : said[0].toUpperCase() + said.slice(1));
  });
}

/** What was taken out, whether to trust it, and what to do. Never all clear: what is fainter than the noise no check sees. */
function verdict(report, warnings) {
  const out = `The noise before was ${percent(report.noise_std_in)} of the range; about ${percent(report.noise_std_out)} of error is left.`;
  const trust = warnings.length
    ? `Look before you trust the result: there ${warnings.length > 1 ? `are ${warnings.length} warnings` : "is a warning"}.`
    : "Nothing was found against it: what was taken out looks like noise. Structure fainter than the noise no check can see: flip between before and after where it matters to you, or take less strength.";
  return [element("p", { className: "verdict" }, `${out} ${trust}`), ...warnings.map((text) => element("p", { className: "warning" }, text))];
}

export function showReport(place, report) {
  const rows = findings(report).map(([name, value, meaning]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value), element("td", { className: "muted" }, meaning)));
  const whose = report.channels?.length
    ? [element("p", { className: "muted" }, "Each channel was normalised by itself. “Error left” to “Resembles the image” are of the noisiest one.")]
    : [];
  const details = element("details", {}, element("summary", {}, "The numbers"), element("table", {}, element("tbody", {}, ...rows)), ...whose);
  place.replaceChildren(element("h3", {}, "What was found"), ...verdict(report, grouped(report.warnings)), details);
}
