/** The job list: state, progress, and what can be done with each. It keeps itself fresh while the page is looked at. */

import { base, FINAL, json, request } from "./api.js";
import { $, element, short } from "./elements.js";

const STEP = 20; // rows that are shown at first, and by each "more"
const PAGE = 100;
const MOST_PAGES = 10; // that are searched for what the filter says
const UNDO = 6000; // milliseconds before a deletion is sent
const PAUSE = { busy: 2000, idle: 10_000 };
const names = new Map();
const left = new Set(); // ids that are not listed
const rows = new Map(); // job id → { told, row }: a row is made anew only when what it says has changed
let timer = 0;
let turn = 0;
let most = STEP;
let pending = null; // the deletion that can be undone: { job, timer }
let onOpen;
let onError;

/** Remember what the person called the upload of a job. */
export function named(job, name) {
  names.set(job.id, name);
}

/** Keep a job out of the list: a preview is looked at, and gone. */
export const leaveOut = (job) => left.add(job.id);

/** What the list calls a job. */
export const nameOf = (job) => names.get(job.id) ?? job.input?.name ?? (job.links.results && job.input?.files ? `batch of ${job.input.files} files, ${new Date(job.created_at).toLocaleTimeString()}` : job.options?.name ? `${job.kind} ${job.options.name}` : `${job.kind}, ${new Date(job.created_at).toLocaleTimeString()}`);

/** Show the list from now on; `open(job)` shows what came of one. */
export function listen(open, complain) {
  [onOpen, onError] = [open, complain];
  document.addEventListener("visibilitychange", () => document.hidden || refresh({ quiet: true }));
  addEventListener("pagehide", () => settle({ keepalive: true }));
  $("jobs-more").addEventListener("click", () => {
    most += STEP;
    refresh().catch(onError);
  });
  let typing;
  for (const name of ["jobs-filter", "jobs-state"]) $(name).addEventListener("input", () => {
    clearTimeout(typing);
    most = STEP;
    typing = setTimeout(() => refresh().catch(onError), 200);
  });
  $("jobs-undo-button").addEventListener("click", () => {
    if (!pending) return;
    clearTimeout(pending.timer);
    left.delete(pending.job.id);
    pending = null;
    $("jobs-undo").hidden = true;
    $("jobs-title").focus();
    refresh().catch(onError);
  });
}

/** Ask for the list now, and again after a while. A `quiet` look never asks the person for a key. */
export async function refresh({ quiet = false } = {}) {
  clearTimeout(timer);
  const mine = ++turn;
  try {
    const { found, more } = await look(quiet);
    if (mine !== turn) return; // a later look is under way, and knows more
    show(found.slice(0, most));
    $("jobs-more").hidden = !more;
    $("jobs-note").hidden = true;
    again(found.every((job) => FINAL.includes(job.state)) ? PAUSE.idle : PAUSE.busy);
  } catch (error) {
    if (!quiet) throw error;
    $("jobs-note").textContent = `This list may be old: ${error.message}`;
    $("jobs-note").hidden = false;
    if (mine === turn && error.status !== 401) again(PAUSE.idle);
  }
}

/** The jobs that the filter leaves, as many as are shown, and whether there are more. */
async function look(quiet) {
  const found = [];
  const state = $("jobs-state").value;
  const text = $("jobs-filter").value.trim().toLowerCase();
  for (let page = 0, cursor = ""; page < MOST_PAGES; page++) {
    const query = new URLSearchParams({ limit: PAGE, ...(state && { state }), ...(cursor && { cursor }) });
    const answer = await json(`${base}/jobs?${query}`, { quiet });
    found.push(...answer.jobs.filter((job) => !job.deleted_at && !left.has(job.id) && nameOf(job).toLowerCase().includes(text)));
    cursor = answer.next_cursor;
    if (found.length > most || !cursor) break;
  }
  return { found, more: found.length > most };
}

/** Delete a job once it is too late to undo; what was to be deleted before goes at once. */
async function remove(job) {
  settle();
  left.add(job.id);
  pending = { job, timer: setTimeout(() => settle(), UNDO) };
  $("jobs-undo-said").textContent = `Deleted ${nameOf(job)}.`;
  $("jobs-undo").hidden = false;
  await refresh();
}

function settle(options = {}) {
  if (!pending) return;
  const { job, timer } = pending;
  clearTimeout(timer);
  pending = null;
  $("jobs-undo").hidden = true;
  request(job.links.self, { method: "DELETE", ...options }).catch((error) => {
    left.delete(job.id);
    onError(error);
  });
}

function again(pause) {
  timer = setTimeout(() => document.hidden || refresh({ quiet: true }), pause);
}

function show(jobs) {
  const body = $("jobs").querySelector("tbody");
  const place = [...body.children].indexOf(document.activeElement.closest?.("tr"));
  const button = place < 0 ? -1 : [...body.children[place].querySelectorAll("button")].indexOf(document.activeElement);
  const focused = place < 0 ? null : body.children[place].dataset.job;
  for (const id of rows.keys()) if (!jobs.some((job) => job.id === id)) rows.delete(id);
  const wanted = jobs.map((job) => {
    const told = JSON.stringify([job.state, job.phase, job.progress, job.queue_position, job.cancel_requested, job.links, nameOf(job)]);
    if (rows.get(job.id)?.told !== told) rows.set(job.id, { told, row: row(job) });
    return rows.get(job.id).row;
  });
  if (wanted.length !== body.children.length || wanted.some((made, index) => made !== body.children[index])) body.replaceChildren(...wanted);
  $("no-jobs").hidden = jobs.length > 0;
  if (place >= 0 && !body.contains(document.activeElement)) refocus(body, focused, place, button);
}

/** The keyboard stays where it was: on the same job, or where it stood if that has gone; on the row while it has no button. */
function refocus(body, job, place, button) {
  const target = [...body.children].find((made) => made.dataset.job === job) ?? body.children[Math.min(place, body.children.length - 1)];
  const buttons = [...(target?.querySelectorAll("button") ?? [])];
  if (target) target.tabIndex = -1;
  (buttons[Math.min(Math.max(button, 0), buttons.length - 1)] ?? target ?? $("jobs-title")).focus();
}

function words(job) {
  if (job.error) return job.error.detail;
  if (job.cancel_requested && !FINAL.includes(job.state)) return "stopping";
  if (job.state === "queued" && job.queue_position) return `queued, place ${job.queue_position}`;
  return job.state === "running" && job.phase ? `running: ${job.phase}` : job.state;
}

function row(job) {
  const { done, total, unit } = job.progress;
  const name = nameOf(job);
  const progress = total && !FINAL.includes(job.state) ? [element("progress", { max: total, value: Math.min(done, total), title: `${done} of ${total} ${unit}s`, "aria-label": `${name}: ${done} of ${total} ${unit}s` })] : [];
  const button = (label, onClick) => {
    const made = element("button", { type: "button", "aria-label": `${label} ${name}` }, label);
    made.addEventListener("click", () => onClick().catch(onError));
    return made;
  };
  const actions = [];
  const finetune = job.kind === "finetune";
  const followed = finetune || job.links.results; // what can be opened while it runs
  if (followed || job.links.preview) actions.push(button(followed && !FINAL.includes(job.state) ? "Watch" : "Open", async () => onOpen(job)));
  if (!FINAL.includes(job.state) && !job.cancel_requested) actions.push(button("Cancel", () => request(job.links.cancel, { method: "POST" }).then(() => refresh())));
  if (FINAL.includes(job.state)) actions.push(button("Delete", () => remove(job)));
  const link = element("a", { href: `?job=${job.id}` }, name);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    onOpen(job);
  });
  const cells = [[link], [words(job), ...progress], [job.model ?? ""], [size(job)], [duration(job)], [new Date(job.created_at).toLocaleString([], { dateStyle: "short", timeStyle: "short" })], actions];
  const made = element("tr", {}, ...cells.map((inside) => element("td", {}, ...inside)));
  made.dataset.job = job.id;
  return made;
}

function size({ input }) {
  if (input?.files) return `${input.files} files`;
  if (!input?.width) return "";
  return `${input.width} × ${input.height}${input.frames > 1 ? ` × ${input.frames}` : ""}`;
}

function duration({ started_at: start, finished_at: end }) {
  if (!start || !end) return "";
  const seconds = (new Date(end) - new Date(start)) / 1000;
  return seconds < 90 ? `${short(Number(seconds.toFixed(1)))} s` : `${Math.round(seconds / 60)} min`;
}
