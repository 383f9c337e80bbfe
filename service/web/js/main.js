/** The page: wires the form, the viewer, the job list and the key dialog together. */

import * as api from "./api.js";
import { takeDrops, visible } from "./drop.js";
import { $, element, short } from "./elements.js";
import * as finetune from "./finetune.js";
import * as jobs from "./jobs.js";
import { cropped, pasted, readRaster } from "./raster.js";
import { showReport } from "./report.js";
import { Unreadable } from "./unreadable.js";
import { Viewer } from "./viewer.js";

const SIDE_OF_PREVIEW = 512;
const PREVIEW_PAUSE = 300;
const viewer = new Viewer($("canvas"));
const uploads = new Map(); // job id → the file it was made of; the service gives no upload back
let shown = null; // of the image in the viewer: { file, before, whole, left, top }, the last two where it is a part of the file
let download = "";
let drawn = "";
let turn = 0; // of what was opened last: what comes late for another one is not shown
let previews = 0;

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
  return { model: $("model").value, strength: $("strength").value, output_format: $("format").value };
}

/** Send one file, follow its job, and return it ended; null if it failed and that was said. Tells how it goes while it is `wanted`; throws where a key is missing. */
async function run(file, extra = {}, wanted = () => true) {
  const tell = (text) => wanted() && say(text);
  tell(`Sending ${file.name}`);
  let job;
  try {
    job = await api.denoise(file, { ...options(), ...extra });
    uploads.set(job.id, file);
    jobs.named(job, extra.roi ? `preview of ${file.name}` : file.name);
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

async function send(files) {
  $("error").hidden = true;
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
  const mine = ++turn;
  try {
    const file = uploads.get(job.id);
    const result = await (await api.request(job.links.result)).blob();
    const found = await rasters(job, file, result);
    if (mine !== turn) return;
    $("viewer-section").hidden = false;
    $("report").replaceChildren();
    look(job, file, found);
    offer(job, file, result);
    if (job.links.report) {
      const numbers = await api.json(job.links.report);
      if (mine !== turn) return;
      showReport($("report"), numbers);
    }
    say(file ? `${file.name} is done.` : "The result is open; the upload is not at hand, so there is no before.");
  } catch (error) {
    if (mine === turn) complain(error);
  }
}

/** What a result is shown with: { before, after, left, top }, or { reason, picture } where browsers cannot show it. */
async function rasters(job, file, result) {
  try {
    const after = await readRaster(result);
    if (!file) return { before: after, after: null, left: 0, top: 0 };
    const before = await readRaster(file);
    if (!job.options?.roi) return { before, after, left: 0, top: 0 };
    const [left, top, width, height] = job.options.roi.split(",").map(Number);
    return { before: cropped(before, left, top, width, height), after, left, top };
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    const picture = job.links.report_picture ? await (await api.request(job.links.report_picture)).blob() : null;
    return { reason: error.message, picture };
  }
}

function offer(job, file, result) {
  URL.revokeObjectURL(download);
  download = URL.createObjectURL(result);
  const ending = `-denoised${job.options?.roi ? "-part" : ""}${job.result.extension}`;
  $("download").href = download;
  $("download").download = file ? file.name.replace(/(\.[^.]*)?$/, ending) : `${job.id}${job.result.extension}`;
}

function look(job, file, { before, after, left, top, reason, picture }) {
  URL.revokeObjectURL(drawn);
  $("canvas").hidden = Boolean(reason);
  $("unshown").hidden = !reason;
  $("picture").hidden = !picture;
  $("preview").disabled = $("apply").disabled = Boolean(reason) || !file;
  if (reason) {
    shown = null;
    $("unshown").textContent = `${reason} ${picture ? "The report's picture shows its middle; download" : "Download"} the result to see it whole.`;
    if (picture) $("picture").src = drawn = URL.createObjectURL(picture);
    return;
  }
  const same = ["width", "height"].every((side) => shown?.before[side] === before[side]) && shown.left === left && shown.top === top;
  const again = file !== undefined && shown?.file === file && same;
  shown = { file, before, whole: after, left, top };
  viewer.show(before, after, again);
  $("canvas").setAttribute("aria-label", `${file?.name ?? job.id}, ${viewer.size.join(" × ")} pixels, before on the left and after on the right`);
  if (!again) controls(before);
}

/** Sliders for the image now in the viewer. */
function controls(before) {
  for (const name of ["low", "high"]) {
    $(name).min = viewer.least;
    $(name).max = viewer.most;
    $(name).step = before.integer ? 1 : (viewer.most - viewer.least) / 1000;
    $(name).value = viewer[name];
    $(`${name}-shown`).textContent = short($(name).value);
  }
  $("page-label").hidden = before.pages.length < 2;
  $("page").max = before.pages.length - 1;
  $("page").value = 0;
  $("page-shown").textContent = `1 of ${before.pages.length}`;
}

/** Denoise the part in view at the strength of the slider, and lay it over the result. */
async function preview() {
  if (!shown?.file) return;
  $("error").hidden = true;
  const [start, mine] = [shown, ++previews];
  const wanted = () => shown === start && mine === previews;
  const { file, before, whole, left, top } = start;
  const strength = $("strength").value;
  const part = viewer.inView();
  const side = (name, start) => {
    const size = Math.min(part[name], SIDE_OF_PREVIEW);
    return [part[start] + Math.floor((part[name] - size) / 2), size];
  };
  const [[x, width], [y, height]] = [side("width", "x"), side("height", "y")];
  const job = await run(file, { roi: [left + x, top + y, width, height].join(","), strength, output_format: "", report: "false" }, wanted);
  if (!job || !wanted()) return;
  const crop = await readRaster(await (await api.request(job.links.result)).blob());
  if (!wanted()) return;
  viewer.show(before, pasted(whole, crop, x, y), true);
  say(`Preview of ${width} × ${height} pixels at strength ${strength}; the download is still the whole image as it was.`);
}

async function listModels() {
  const { models } = await api.json(`${api.base}/models?limit=200`);
  const choices = () => [["", "the one that fits"], ...models.map(({ id, name, channels }) => [id, `${name} (${channels === 3 ? "RGB" : "gray"})`])];
  const fill = (list, ...more) => {
    const chosen = list.value;
    list.replaceChildren(...choices().concat(more).map(([value, text]) => element("option", { value }, text)));
    list.value = chosen;
    if (list.selectedIndex < 0) list.value = ""; // what was chosen is gone
  };
  fill($("model"));
  fill($("tune-base"), ["none", "nothing: from scratch"]);
}

function askForKey(reason) {
  if (reason) $("key-reason").textContent = `${reason} It is kept until you close this tab.`;
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
  takeDrops($("drop"), send, complain);
  let pause;
  $("strength").addEventListener("input", () => {
    $("strength-shown").textContent = Number($("strength").value).toFixed(2);
    clearTimeout(pause);
    pause = setTimeout(() => preview().catch(complain), PREVIEW_PAUSE);
  });
  $("split").addEventListener("input", () => viewer.set({ split: Number($("split").value) }));
  for (const choice of document.querySelectorAll("[name=view]")) choice.addEventListener("change", () => viewer.set({ view: choice.value }));
  for (const name of ["low", "high"]) $(name).addEventListener("input", () => {
    $(`${name}-shown`).textContent = short($(name).value);
    viewer.set({ [name]: Number($(name).value) });
  });
  $("page").addEventListener("input", () => {
    $("page-shown").textContent = `${Number($("page").value) + 1} of ${shown.before.pages.length}`;
    viewer.set({ page: Number($("page").value) });
  });
  $("preview").addEventListener("click", () => preview().catch(complain));
  $("apply").addEventListener("click", () => shown?.file && send([shown.file]));
  $("denoise-form").addEventListener("submit", (event) => event.preventDefault());
  $("key-open").addEventListener("click", async () => (await askForKey("")) && start());
  finetune.listen({
    onError: complain,
    onJob: refresh,
    onModels: listModels,
    onModel: (id) => {
      $("model").value = id;
      $("model").focus();
      say("The new model is chosen: drop an image.");
    },
  });
}

const start = () => Promise.all([listModels(), jobs.refresh()]).catch(complain);

let waiting = "";
api.onWait((seconds, problem) => {
  if (seconds) say((waiting = `${problem.title}: trying again in ${Math.ceil(seconds)} s.`));
  else if ($("status").textContent === waiting) say("");
});
api.onKeyNeeded(askForKey);
jobs.listen(open, complain);
listen();
start();
