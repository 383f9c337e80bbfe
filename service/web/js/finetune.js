/** Fine-tuning: send a set, watch its phases and curves, use the model. */

import * as api from "./api.js";
import { $, element, short } from "./elements.js";
import * as jobs from "./jobs.js";

const CURVES = { score: "Held-out score", alpha: "α̂", sigma: "σ̂", loss: "Loss" };
const SVG = "http://www.w3.org/2000/svg";

export function listen({ onError, onModel, onJob }) {
  $("tune-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const options = { max_minutes: $("tune-minutes").value, name: $("tune-name").value };
    try {
      const job = await api.finetune($("tune-files").files, options);
      jobs.named(job, `fine-tune ${options.name}`);
      onJob();
      await follow(job, onModel);
    } catch (error) {
      onError(error);
    }
    onJob();
  });
}

async function follow(job, onModel) {
  const curves = {};
  $("tune-live").hidden = false;
  $("tune-done").hidden = true;
  $("tune-charts").replaceChildren();
  job = await api.ended(job, (now) => {
    const { done, total, unit, detail } = now.progress;
    $("tune-phase").textContent = [now.phase ?? now.state, total ? `${done} of ${total} ${unit}s` : "", left(detail)].filter(Boolean).join(", ");
    for (const name of Object.keys(CURVES)) add(curves, name, detail?.[name]);
    draw(curves);
  });
  $("tune-phase").textContent = verdict(job);
  const model = job.result?.model ?? job.result?.model_id;
  if (job.state === "succeeded" && model) {
    $("tune-done").hidden = false;
    $("tune-use").onclick = () => onModel(model);
  }
}

const left = (detail) => (detail?.seconds_left ? `${Math.ceil(detail.seconds_left / 60)} min left` : "");

function verdict(job) {
  if (job.state !== "succeeded") return job.error?.detail ?? `The job was ${job.state}.`;
  return job.result?.promoted ? "Done: the new model beats its base on images it did not see." : "Done, but the new model does not beat its base on images it did not see: stay with the base, or send more images.";
}

function add(curves, name, value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return;
  const points = (curves[name] ??= []);
  if (points.at(-1) !== value) points.push(value);
}

function draw(curves) {
  const figures = Object.entries(curves).filter(([, points]) => points.length > 1).map(([name, points]) => {
    const [low, high] = [Math.min(...points), Math.max(...points)];
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", points.map((value, i) => `${(100 * i) / (points.length - 1)},${95 - (90 * (value - low)) / (high - low || 1)}`).join(" "));
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${CURVES[name]}: now ${short(points.at(-1))}`);
    svg.append(line);
    return element("figure", {}, element("figcaption", { className: "muted" }, `${CURVES[name]}: ${short(points.at(-1))}`), svg);
  });
  $("tune-charts").replaceChildren(...figures);
}
