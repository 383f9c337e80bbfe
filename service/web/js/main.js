/** The page: wires the form, the viewer, the job list and the key dialog together. */

import * as api from "./api.js";
import * as batch from "./batch.js";
import { MOST_SIDE, drawn } from "./drawn.js";
import { takeDrops, takePastes, visible } from "./drop.js";
import { $, element } from "./elements.js";
import * as finetune from "./finetune.js";
import * as jobs from "./jobs.js";
import * as models from "./models.js";
import * as panel from "./panel.js";
import { pasted, readRaster } from "./raster.js";
import { showReport } from "./report.js";
import { Unreadable } from "./unreadable.js";
import { Viewer } from "./viewer.js";

const SIDE_OF_PREVIEW = 512;
const MOST_SINGLE = 8; // files that are shown one after another; more are one job with a table
const PAGE_PAUSE = 300; // milliseconds that a page is looked at before it is drawn
const viewer = new Viewer($("canvas"));
const uploads = new Map(); // job id → the file it was made of; the service gives no upload back
let shown = null; // of the image in the viewer: { job, file, before, whole, taken }: taken where the service drew it
let download = "";
let turn = 0; // of what was opened last: what comes late for another one is not shown
let previews = 0;
let leaves = 0;

const say = (text) => ($("status").textContent = text);

/** Show what went wrong, below what else did since the person last began something. */
function complain(error) {
  const known = error instanceof api.Problem;
  if ($("error").hidden) $("error").replaceChildren();
  $("error").append(element("strong", {}, known ? error.title : "Something went wrong on this page"), element("p", {}, error.message));
  if (error.requestId) $("error").append(element("p", { className: "muted" }, `Request ${error.requestId}`));
  $("error").hidden = false;
  say("");
}

const refresh = () => jobs.refresh().catch(complain);

function options() {
  const given = { quality: qualityOf("quality"), output_format: $("format").value, output_dtype: $("dtype").value, mosaic: $("mosaic").value, lines: $("lines").value };
  return { model: $("model").value, strength: $("strength").value, ...given };
}

/** Send one file, follow its job, and return it ended; null if it failed and that was said. Tells how it goes while it is `wanted`; throws where a key is missing. */
async function run(file, extra = {}, wanted = () => true) {
  const tell = (text) => wanted() && say(text);
  tell(`Sending ${file.name}`);
  let job;
  try {
    job = await api.denoise(file, { ...options(), ...extra });
    uploads.set(job.id, file);
    jobs.named(job, file.name);
    if (extra.roi) jobs.leaveOut(job);
    refresh();
    job = await api.ended(job, ({ state, progress }) =>
      tell(`${file.name}: ${state}${progress.total ? `, ${progress.done} of ${progress.total} ${progress.unit}s` : ""}`));
    refresh();
    if (job.state === "succeeded") return job;
    throw new api.Problem(422, { title: `${file.name} was not denoised`, detail: job.error?.detail ?? `The job was ${job.state}.` });
  } catch (error) {
    if (error.passing && job) error.message += " The job goes on: open it from the list once it is done.";
    if (error instanceof api.Problem && !error.title.includes(file.name)) error.title = `${file.name}: ${error.title}`;
    if (error.status === 401) throw error;
    complain(error);
    return null;
  }
}

/** Send many files as one job, and show what comes of each. */
async function sendBatch(files) {
  say(`Sending ${files.length} files`);
  try {
    const job = await batch.send(files, options());
    refresh();
    say("");
    await open(job);
  } catch (error) {
    complain(error);
  }
}

async function send(files) {
  $("error").hidden = true;
  if (files.length > MOST_SINGLE) return sendBatch(files);
  for (const [index, file] of files.entries()) {
    try {
      const job = await run(file);
      if (job) await open(job);
    } catch (error) {
      complain(error);
      if (files.length > 1) say(`Stopped: the last ${files.length - index} of ${files.length} files were not denoised.`);
      return;
    }
  }
}

/** Show a finished job: its image beside the upload if that is still at hand, its download and its report, unless another one was opened since. */
async function open(job) {
  if (job.kind === "finetune") {
    $("tune-title").scrollIntoView();
    finetune.watch(job).catch(complain);
    return;
  }
  if (job.links.results) return batch.watch(job).catch(complain);
  const mine = ++turn;
  history.replaceState(null, "", `?job=${job.id}`);
  try {
    const file = uploads.get(job.id);
    const result = await (await api.request(job.links.result)).blob();
    const found = await rasters(job, file, result);
    if (mine !== turn) return;
    $("report").replaceChildren();
    look(job, file, found);
    offer(job, file, result);
    blend();
    $("viewer-title").scrollIntoView({ block: "start" });
    if (job.links.report) {
      const numbers = await api.json(job.links.report);
      if (mine !== turn) return;
      showReport($("report"), numbers);
    }
    const words = found.taken ? "The result is open." : "The result is open; its upload cannot be drawn, so there is no before.";
    say(file ? `${file.name} is done.` : `${words} ${jobs.nameOf(job)}`);
  } catch (error) {
    if (mine === turn) complain(error);
  }
}

/** Show one image of a batch beside its upload, if that is still at hand: as a job of its own would be shown. */
async function openFile(job, file, { name, result, result_link, report_link }) {
  const links = { ...job.links, result: result_link, report: report_link, results: null, preview: null };
  const one = { ...job, result, links, input: { name } };
  const mine = ++turn;
  const bytes = await (await api.request(result_link)).blob();
  const found = file ? { before: await readRaster(file), after: await readRaster(bytes) } : { before: await readRaster(bytes), after: null };
  if (mine !== turn) return;
  $("report").replaceChildren();
  look(one, file, found);
  offer(one, file, bytes);
  blend();
  $("viewer-title").scrollIntoView({ block: "start" });
  if (report_link) showReport($("report"), await api.json(report_link));
  say(`${name} is open.`);
}

/** Show a job of the list or of the address: the slider tells its strength. */
function revisit(job) {
  $("strength").value = job.options?.strength ?? 1;
  return open(job);
}

/** What a result is shown with: { before, after }; where browsers cannot show it, or the upload is not at hand, also { reason, taken }, drawn by the service. */
async function rasters(job, file, result) {
  try {
    if (!file) return { ...(await drawn(job)), reason: "The upload is no longer on this page." };
    const [before, after] = await Promise.all([readRaster(file), readRaster(result)]);
    return { before, after };
  } catch (error) {
    if (!file && error instanceof api.Problem) return { before: await readRaster(result), after: null };
    if (!(error instanceof Unreadable)) throw error;
    return { ...(await drawn(job)), reason: error.message };
  }
}

function offer(job, file, result) {
  URL.revokeObjectURL(download);
  download = URL.createObjectURL(result);
  const ending = `-denoised${job.options?.roi ? "-part" : ""}${job.result.extension}`;
  $("download").href = download;
  $("download").download = (file?.name ?? job.input?.name ?? job.id).replace(/(\.[^.]*)?$/, ending);
}

function look(job, file, { before, after, taken = null, reason = "" }) {
  document.body.classList.add("open");
  for (const id of ["viewer-section", "look", "preview", "apply"]) $(id).hidden = false;
  $("unshown").hidden = !reason;
  $("unshown").textContent = reason && `${reason} This is the service's picture of it: 8 bits, at most ${MOST_SIDE} pixels a side. The download is the whole result.`;
  $("preview").disabled = Boolean(taken) || !file;
  $("apply").disabled = !file;
  const same = ["width", "height"].every((side) => shown?.before[side] === before[side]);
  const again = file !== undefined && shown?.file === file && same;
  shown = { job, file, before, whole: after, taken };
  viewer.share = share();
  viewer.show(before, after, again, taken);
  $("canvas").setAttribute("aria-label", `${file?.name ?? jobs.nameOf(job)}, ${viewer.size.join(" × ")} pixels, before on the left and after on the right`);
  if (!again || taken) panel.settle(pagesOf(shown), before.integer);
}

/** Strength that the image in the viewer was denoised with. */
const madeAt = () => Number(shown?.job.options?.strength ?? 1);

/** Of what was taken out, the share that the slider asks for: strength is a linear blend of before and after. */
const share = () => (shown?.file && madeAt() > 0 ? Number($("strength").value) / madeAt() : 1);

/** Show the strength of the slider at once; the download is made by the service when it is asked for. */
function blend() {
  $("strength-shown").textContent = Number($("strength").value).toFixed(2);
  if (!shown) return;
  viewer.set({ share: share() });
  $("download").textContent = share() === 1 ? "Download the result" : `Download at strength ${$("strength").value}`;
}

/** The result at the strength of the slider, by the settings that made the image in the viewer; then it is saved. */
async function saveAtStrength() {
  const { file, job } = shown;
  const asked = ["model", "quality", "output_format", "output_dtype", "mosaic", "lines"].map((name) => [name, job.options[name] ?? ""]);
  const made = await run(file, { ...Object.fromEntries(asked), strength: $("strength").value });
  if (!made) return;
  await open(made);
  if (shown.job === made) $("download").click();
}

/** How many pages there are to choose from; a drawn one is asked for when it is chosen. */
const pagesOf = ({ job, before, taken }) => (taken ? job.input.frames : before.pages.length);

/** Have another page drawn, and show it unless something else was asked for since. */
async function turnTo(page) {
  const { job } = shown;
  const mine = ++leaves;
  const found = await drawn(job, page);
  if (mine !== leaves || shown.job !== job) return;
  shown = { ...shown, ...found, whole: found.after };
  viewer.show(found.before, found.after, true, found.taken);
  panel.count();
}

/** Denoise the part in view by the settings of the panel, and lay it over the result. Its job leaves nothing in the list. */
async function preview() {
  if (!shown?.file || shown.taken) return;
  $("error").hidden = true;
  const [start, mine] = [shown, ++previews];
  const wanted = () => shown === start && mine === previews;
  const { file, before, whole } = start;
  const part = viewer.inView();
  const side = (name, start) => {
    const size = Math.min(part[name], SIDE_OF_PREVIEW);
    return [part[start] + Math.floor((part[name] - size) / 2), size];
  };
  const [[x, width], [y, height]] = [side("width", "x"), side("height", "y")];
  const job = await run(file, { roi: [x, y, width, height].join(","), strength: madeAt(), output_format: "", report: "false" }, wanted);
  if (!job || !wanted()) return;
  const crop = await readRaster(await (await api.request(job.links.result)).blob());
  api.request(job.links.self, { method: "DELETE", quiet: true }).catch(() => {}); // it expires by itself
  if (!wanted()) return;
  viewer.show(before, pasted(whole, crop, x, y), true);
  say(`Preview of ${width} × ${height} pixels by these settings; the download is still the whole image as it was.`);
}

/** A model that is named has its own quality: nothing is asked of the server then. */
const qualityOf = (id) => ($(id).disabled ? "" : $(id).value);

function settleQualities() {
  $("quality").disabled = $("model").value !== "";
  $("tune-quality").disabled = !["", "none"].includes($("tune-base").value);
}

async function listModels() {
  await models.list(() => listModels().catch(complain), complain);
  settleQualities();
}

function askForKey(reason) {
  $("key-reason").textContent = `${reason || "A key says whose the jobs are; where the service is open, none is needed."} It is kept until you close this tab.`;
  const dialog = $("key-dialog");
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => {
    const wanted = dialog.returnValue === "ok" && $("key").value;
    if (wanted) api.setKey($("key").value.trim());
    $("key").value = "";
    done(Boolean(wanted));
  }, { once: true }));
}

function listen() {
  for (const name of ["files", "folder"]) $(name).addEventListener("change", (event) => {
    send(name === "folder" ? visible([...event.target.files]) : [...event.target.files]);
    event.target.value = "";
  });
  takeDrops(document.body, send, complain);
  takePastes(send);
  $("example").addEventListener("click", () => example().catch(complain));
  $("strength").addEventListener("input", blend);
  $("download").addEventListener("click", (event) => {
    if (share() === 1) return;
    event.preventDefault();
    saveAtStrength().catch(complain);
  });
  let leafing;
  panel.listen(viewer, (page) => {
    clearTimeout(leafing);
    if (shown.taken) leafing = setTimeout(() => turnTo(page).catch(complain), PAGE_PAUSE);
    else viewer.set({ page });
    panel.turned(page, pagesOf(shown));
  });
  $("preview").addEventListener("click", () => preview().catch(complain));
  $("apply").addEventListener("click", () => shown?.file && send([shown.file]));
  for (const id of ["model", "tune-base"]) $(id).addEventListener("change", settleQualities);
  $("denoise-form").addEventListener("submit", (event) => event.preventDefault());
  $("key-open").addEventListener("click", async () => (await askForKey("")) && start());
  batch.listen({ onOpen: openFile, onJob: refresh, onError: complain });
  finetune.listen({
    onError: complain,
    onJob: refresh,
    onModels: listModels,
    onModel: (id) => {
      $("model").value = id;
      settleQualities();
      $("model").focus();
      say("The new model is chosen: drop an image.");
    },
  });
}

/** Open the job that the address names, once it has ended. */
async function linked() {
  const id = new URLSearchParams(location.search).get("job");
  if (!id || shown) return;
  const job = await api.json(`${api.base}/jobs/${encodeURIComponent(id)}`);
  if (job.kind === "finetune" || job.links.results) return revisit(job);
  const done = await api.ended(job, ({ state }) => say(`${jobs.nameOf(job)}: ${state}`));
  if (done.state === "succeeded") return revisit(done);
  throw new api.Problem(422, { title: `${jobs.nameOf(done)} was not denoised`, detail: done.error?.detail ?? `The job was ${done.state}.` });
}

async function example() {
  const picture = await fetch($("intro").querySelector("img").src);
  await send([new File([await picture.blob()], "example.png", { type: "image/png" })]);
}

const start = () => Promise.all([listModels(), jobs.refresh(), linked()]).catch(complain);

let waiting = "";
api.onWait((seconds, problem) => {
  if (seconds) say((waiting = `${problem.title}: trying again in ${Math.ceil(seconds)} s.`));
  else if ($("status").textContent === waiting) say("");
});
api.onKeyNeeded(askForKey);
jobs.listen(revisit, complain);
listen();
start();
