/** A part of an image denoised by two models, the base on the left and the new one on the right, with one zoom. */

import * as api from "./api.js";
import { $, element } from "./elements.js";
import * as jobs from "./jobs.js";
import { cropped, readRaster } from "./raster.js";
import { Viewer } from "./viewer.js";

const SIDE = 512;
let viewer;
let pictures = null; // { noisy, base, tuned } of the part that is compared
let turn = 0;

export function listen() {
  viewer = new Viewer($("compare-canvas"));
  $("compare-split").addEventListener("input", () => viewer.set({ split: Number($("compare-split").value) }));
  $("compare-left").addEventListener("change", () => show(true));
  $("compare-file").addEventListener("change", () => $("compare-file").onchoice?.());
}

/** Offer these files, and compare the first. */
export async function offer(files, base, tuned) {
  pictures = null;
  turn++;
  $("compare").hidden = files.length === 0;
  $("compare-file").replaceChildren(...files.map((file, index) => element("option", { value: index }, file.name)));
  $("compare-file").onchoice = () => compare(files[$("compare-file").value], base, tuned);
  if (files.length) await $("compare-file").onchoice();
}

async function compare(file, base, tuned) {
  const mine = ++turn;
  $("compare-stage").hidden = true;
  $("compare-note").textContent = `Denoising a part of ${file.name} by both models…`;
  try {
    const whole = await readRaster(file);
    const [width, height] = [Math.min(SIDE, whole.width), Math.min(SIDE, whole.height)];
    const [x, y] = [(whole.width - width) >> 1, (whole.height - height) >> 1];
    const roi = [x, y, width, height].join(",");
    const made = await Promise.all([part(file, base, roi), part(file, tuned, roi)]);
    if (mine !== turn) return;
    pictures = { noisy: cropped(whole, x, y, width, height), base: made[0], tuned: made[1] };
    $("compare-note").textContent = `${file.name}, ${width} × ${height} pixels of its middle.`;
    $("compare-stage").hidden = false;
    show(false);
  } catch (error) {
    if (mine !== turn) return;
    const words = error instanceof api.Problem ? `${error.title}: ${error.message}` : error.message;
    $("compare-note").textContent = `${words} The report's picture below compares held-out crops.`;
  }
}

async function part(file, model, roi) {
  const posted = await api.denoise(file, { model, roi, report: "false" });
  jobs.leaveOut(posted);
  const job = await api.ended(posted);
  if (job.state !== "succeeded") throw new api.Problem(422, { title: "The models were not compared", detail: job.error?.detail ?? `The job was ${job.state}.` });
  return readRaster(await (await api.request(job.links.result)).blob());
}

function show(keep) {
  if (!pictures) return;
  const left = $("compare-left").value;
  $("compare-canvas").setAttribute("aria-label", `${left === "base" ? "By the base model" : "Noisy"} on the left, by the new model on the right`);
  viewer.show(pictures[left], pictures.tuned, keep);
}
