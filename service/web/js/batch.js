/** A batch on the page: many files as one job, with a row for each, its verdict, and all results as one archive. */

import { base, FINAL, json, request } from "./api.js";
import { $, element, short } from "./elements.js";

const PAUSE = 1000;
const PAGE = 1000; // files that one answer lists
const local = new Map(); // job id → the files it was made of, while this page has them
let turn = 0; // of what is shown: what comes late for another batch is not
let hooks = {};

/** `onOpen(job, file, entry)` shows one image; `onJob()` hears that the job has moved on; `onError(error)` of what went wrong. */
export function listen(given) {
  hooks = given;
  $("batch-cancel").addEventListener("click", () => {
    const link = $("batch-cancel").dataset.link;
    request(link, { method: "POST" }).then(hooks.onJob).catch(hooks.onError);
  });
  $("batch-all").addEventListener("click", () => save($("batch-all").dataset.link, `${$("batch-all").dataset.job}.zip`).catch(hooks.onError));
}

/** Send files as one job; the job. A tab that is left meanwhile asks first. */
export async function send(files, options) {
  const form = new FormData();
  for (const [name, value] of Object.entries(options)) if (value !== "" && value !== undefined) form.append(name, value);
  for (const file of files) form.append("images", file, file.name);
  const ask = (event) => event.preventDefault();
  addEventListener("beforeunload", ask);
  try {
    const job = await json(`${base}/denoise`, { method: "POST", body: form, headers: { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) } });
    local.set(job.id, files);
    return job;
  } finally {
    removeEventListener("beforeunload", ask);
  }
}

/** Show a batch, and follow it until it has ended or another one is shown; the job then. */
export async function watch(job) {
  const mine = ++turn;
  history.replaceState(null, "", `?job=${job.id}`);
  $("batch-section").hidden = false;
  $("batch-files").replaceChildren();
  $("batch-title").scrollIntoView({ block: "start" });
  for (;;) {
    const files = await listed(job);
    if (mine !== turn) return job;
    show(job, files);
    if (FINAL.includes(job.state)) return job;
    await new Promise((wake) => setTimeout(wake, PAUSE));
    job = await json(job.links.self);
    hooks.onJob();
  }
}

async function listed(job) {
  const found = [];
  for (let cursor = ""; ; ) {
    const answer = await json(`${job.links.results}?${new URLSearchParams({ limit: PAGE, ...(cursor && { cursor }) })}`);
    found.push(...answer.files);
    if (!(cursor = answer.next_cursor)) return found;
  }
}

function show(job, files) {
  const ended = FINAL.includes(job.state);
  const count = (state) => files.filter((file) => file.state === state).length;
  const [done, failed] = [count("succeeded"), count("failed")];
  const warned = files.filter((file) => file.result?.warnings?.length).length;
  const bad = [failed && `${failed} could not be denoised`, warned && `${warned} with a warning`].filter(Boolean).join(", ");
  $("batch-said").textContent = `${done} of ${files.length} images done${bad ? `; ${bad}` : ""}${ended ? "" : ` (${job.state})`}.`;
  Object.assign($("batch-bar"), { max: Math.max(1, files.length), value: done + failed, hidden: ended });
  $("batch-cancel").hidden = ended || Boolean(job.cancel_requested);
  $("batch-cancel").dataset.link = job.links.cancel;
  $("batch-all").hidden = !ended || !job.links.result;
  Object.assign($("batch-all").dataset, { link: job.links.result ?? "", job: job.id });
  const rows = [...$("batch-files").children];
  files.forEach((file, index) => {
    const told = JSON.stringify([file.name, file.state]);
    if (rows[index]?.dataset.told === told) return;
    const made = row(job, file, told);
    if (rows[index]) rows[index].replaceWith(made);
    else $("batch-files").append(made);
  });
  rows.slice(files.length).forEach((left) => left.remove());
}

function row(job, file, told) {
  const actions = [];
  const button = (label, act) => {
    const made = element("button", { type: "button", "aria-label": `${label} ${file.name}` }, label);
    made.addEventListener("click", () => act().catch(hooks.onError));
    actions.push(made);
  };
  if (file.result_link) {
    button("Open", () => hooks.onOpen(job, local.get(job.id)?.[file.index], file));
    button("Download", () => save(file.result_link, nameOf(file)));
  }
  const made = element("tr", {}, ...[[file.name], [words(file)], actions].map((inside) => element("td", {}, ...inside)));
  made.dataset.told = told;
  return made;
}

function words(file) {
  if (file.error) return element("span", { className: "warning" }, file.error.detail);
  if (file.state !== "succeeded") return file.state;
  const { alpha, sigma, warnings = [] } = file.result;
  const noise = alpha === null || alpha === undefined ? "" : `, noise α ${short(alpha)}, σ ${short(sigma)}`;
  if (!warnings.length) return `denoised${noise}`;
  const more = warnings.length > 1 ? ` (and ${warnings.length - 1} more)` : "";
  return element("span", { className: "warning", title: warnings.join("\n") }, `denoised${noise}: ${warnings[0]}${more}`);
}

/** What a file's result is called on the person's disk. */
export const nameOf = (file) => file.name.replace(/^.*\//, "").replace(/(\.[^.]*)?$/, `-denoised${file.result.extension}`);

/** Save what needs a key to be read: a link would be asked for without it. */
async function save(link, name) {
  const url = URL.createObjectURL(await (await request(link, { headers: { Accept: "application/zip, */*" } })).blob());
  const made = element("a", { href: url, download: name });
  document.body.append(made);
  made.click();
  made.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
