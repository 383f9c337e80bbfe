/** Fine-tuning: send a set, watch its phases and curves, see what came of it, use the model. */

import * as api from "./api.js";
import { chart } from "./charts.js";
import * as comparison from "./comparison.js";
import { takeDrops, visible } from "./drop.js";
import { $, element, short } from "./elements.js";
import { follow } from "./events.js";
import * as jobs from "./jobs.js";
import { saveWeights, showTuned } from "./tuned.js";

const ARCHIVE = /\.(zip|tar|tgz|gz)$/i;
const PHASES = { sending: "Send", queued: "Wait for a worker", validating: "Look at the files", training: "Train", evaluating: "Judge", publishing: "Publish" };
const LOSSES = { arv: "adaptive re-visible", est: "of the noise estimate", risk: "Stein's, of the visible branch" };
const sets = new Map(); // job id → the files that it was made of, to compare models on
let chosen = [];
let watched = new AbortController();
let handlers;

export function listen(given) {
  handlers = given;
  comparison.listen();
  for (const name of ["tune-files", "tune-folder"]) $(name).addEventListener("change", (event) => {
    choose(name === "tune-folder" ? visible([...event.target.files]) : [...event.target.files]);
    event.target.value = "";
  });
  takeDrops($("tune-drop"), choose, handlers.onError);
  $("tune-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start().catch(handlers.onError);
  });
}

function choose(files) {
  chosen = files;
  const megabytes = files.reduce((sum, file) => sum + file.size, 0) / 1e6;
  $("tune-chosen").textContent = files.length ? `${files.length === 1 ? files[0].name : `${files.length} files`}, ${short(megabytes)} MB` : "Nothing chosen yet.";
  $("tune-start").disabled = !files.length;
}

async function start() {
  const options = { max_minutes: $("tune-minutes").value, name: $("tune-name").value, base_model: $("tune-base").value, quality: $("tune-quality").disabled ? "" : $("tune-quality").value, max_steps: $("tune-most-steps").value, method: $("tune-method").value, frames: $("tune-frames").value, noise: $("tune-noise").value };
  const files = chosen;
  $("tune-start").disabled = true;
  watched.abort();
  blank();
  phase("sending", `${files.length} files`);
  try {
    const job = await api.finetune(files, options).catch((error) => {
      $("tune-live").hidden = true;
      throw error;
    });
    sets.set(job.id, files);
    handlers.onJob();
    await watch(job);
  } finally {
    $("tune-start").disabled = false;
  }
}

/** Show a fine-tune from its first event to its end; a job of an earlier visit too. */
export async function watch(job) {
  watched.abort();
  const { signal } = (watched = new AbortController());
  blank();
  const curves = { loss: [], score: [], alpha: [], sigma: [] };
  const parts = {}; // of the loss, by name
  let drawing = 0;
  const ended = await follow(job, (event) => {
    if (event.phase) phase(event.phase, event.total ? progress(event) : "", event.done, event.total);
    else if (event.state === "queued") phase("queued", "");
    for (const name of Object.keys(curves)) add(curves[name], event.done, event.detail?.[name]);
    for (const [name, value] of Object.entries(event.detail?.loss_parts ?? {})) if (!(name in curves)) add((parts[name] ??= []), event.done, value);
    curves.base = event.detail?.base_score ?? curves.base;
    drawing ||= requestAnimationFrame(() => {
      drawing = 0;
      if (!signal.aborted) draw(curves, parts);
    });
  }, signal);
  if (!ended) return; // another one is watched now
  cancelAnimationFrame(drawing);
  draw(curves, parts);
  handlers.onJob();
  if (ended.state !== "succeeded") {
    stopped();
    $("tune-verdict").replaceChildren(element("p", { className: "warning" }, ended.error?.detail ?? `The job was ${ended.state}.`));
    return;
  }
  phase("ended", "");
  const report = await showTuned(ended, signal);
  if (!report) return;
  $("tune-weights").onclick = () => saveWeights(ended, report.model).catch(handlers.onError);
  $("tune-use").onclick = () => handlers.onModel(report.model);
  $("tune-use").textContent = report.promoted ? "Use this model" : "Use it though it is not promoted";
  $("tune-result").hidden = false;
  await handlers.onModels();
  if (signal.aborted) return;
  const kept = new Set(report.files.filter((file) => file.kept).map((file) => file.name));
  await comparison.offer((sets.get(job.id) ?? []).filter((file) => kept.has(file.name) && !ARCHIVE.test(file.name)), report.base_model, report.model);
}

function blank() {
  $("tune-live").hidden = false;
  $("tune-result").hidden = $("compare").hidden = true;
  for (const name of ["tune-charts", "tune-verdict"]) $(name).replaceChildren();
  phase("queued", "");
}

/** Mark a phase as the one under way, those before it as done. */
function phase(name, words, done, total) {
  const all = Object.keys(PHASES);
  const at = name === "ended" ? all.length : all.indexOf(name);
  $("tune-phases").replaceChildren(...all.map((each, index) => {
    const item = element("li", { className: index < at ? "done" : "" }, PHASES[each]);
    if (index < at) item.append(element("span", { className: "unseen" }, ", done"));
    if (index === at) item.setAttribute("aria-current", "step");
    return item;
  }));
  const said = name === "ended" ? "Ended" : PHASES[name] ?? name;
  if ($("tune-phase").textContent !== said) $("tune-phase").textContent = said; // told to screen readers once
  $("tune-steps").textContent = words;
  $("tune-bar").hidden = name === "ended";
  if (total) [$("tune-bar").max, $("tune-bar").value] = [total, Math.min(done, total)];
  else $("tune-bar").removeAttribute("value");
}

/** The phase under way is where it ended. */
function stopped() {
  const item = $("tune-phases").querySelector("[aria-current]");
  item?.removeAttribute("aria-current");
  item?.classList.add("stopped");
  item?.append(element("span", { className: "unseen" }, ", stopped"));
  $("tune-phase").textContent = "Ended";
  $("tune-bar").hidden = true;
}

function progress({ done, total, unit, detail }) {
  const left = detail?.seconds_left;
  const way = detail?.method && `${detail.trying ? "trying " : ""}${detail.method}`;
  return [way, `${done} of ${total} ${unit}s`, left > 90 ? `${Math.round(left / 60)} min left` : left > 0 ? `${Math.ceil(left)} s left` : ""].filter(Boolean).join(", ");
}

/** A point of a curve; an attempt that went on from a checkpoint takes back what the dead one drew beyond it. */
function add(points, step, value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return;
  while (points.length && points.at(-1)[0] >= step) points.pop();
  points.push([step, value]);
}

function draw({ loss, score, alpha, sigma, base }, { lambda, ...losses }) {
  const charts = [];
  const last = (points) => short(points.at(-1)[1]);
  if (score.length) {
    const end = score.at(-1)[0];
    const level = base === undefined ? [] : [{ name: "base model", kind: "dashed", points: [[0, base], [end, base]] }];
    const points = base === undefined ? score : [[0, base], ...score];
    charts.push(chart({
      title: "Held-out score", upward: "dB on the crops that choose the step; the verdict is of others", across: "step", series: [{ name: "new model", kind: "line", points }, ...level],
      summary: `Held-out score by step, now ${last(score)} dB${base === undefined ? "" : `, the base model's is ${short(base)} dB`}`,
    }));
  }
  if (loss.length > 1) charts.push(chart({ title: "Loss", upward: "lower is better", across: "step", series: [{ name: "loss", kind: "line", points: loss }], summary: `Loss by step, now ${last(loss)}` }));
  for (const [name, points] of Object.entries(losses)) if (points.length > 1 && lambda) charts.push(chart({
    title: `Loss L_${name}`, upward: LOSSES[name] ?? "", across: "step", series: [{ name, kind: "line", points }], summary: `Loss L_${name} by step, now ${last(points)}`,
  }));
  if (lambda?.length > 1) charts.push(chart({ title: "Visibility λ", upward: "weight of the visible branch", across: "step", fromZero: true, series: [{ name: `λ ${last(lambda)}`, kind: "line", points: lambda }], summary: `Visibility by step, now ${last(lambda)}` }));
  if (alpha.length > 1 && sigma.length > 1) charts.push(chart({
    title: "Noise found", upward: "normalised", across: "step", fromZero: true, series: [{ name: `α̂ ${last(alpha)}`, kind: "line", points: alpha }, { name: `σ̂ ${last(sigma)}`, kind: "dashed", points: sigma }],
    summary: `Estimated noise by step: alpha ${last(alpha)}, sigma ${last(sigma)}`,
  }));
  $("tune-charts").replaceChildren(...charts);
}
