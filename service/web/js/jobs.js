/** The job list: state, progress, and what can be done with each. It keeps itself fresh while the page is looked at. */

import { base, FINAL, json, request } from "./api.js";
import { $, element } from "./elements.js";

const MOST = 20;
const ASKED = 60; // more than are shown: deleted ones are left out
const PAUSE = { busy: 2000, idle: 10_000 };
const names = new Map();
const rows = new Map(); // job id → { told, row }: a row is made anew only when what it says has changed
let timer = 0;
let turn = 0;
let onOpen;
let onError;

/** Remember what the person called the upload of a job. */
export function named(job, name) {
  names.set(job.id, name);
}

/** What the list calls a job. */
export const nameOf = (job) => names.get(job.id) ?? (job.options?.name ? `${job.kind} ${job.options.name}` : `${job.kind}, ${new Date(job.created_at).toLocaleTimeString()}`);

/** Show the list from now on; `open(job)` shows what came of one. */
export function listen(open, complain) {
  [onOpen, onError] = [open, complain];
  document.addEventListener("visibilitychange", () => document.hidden || refresh({ quiet: true }));
}

/** Ask for the list now, and again after a while. A `quiet` look never asks the person for a key. */
export async function refresh({ quiet = false } = {}) {
  clearTimeout(timer);
  const mine = ++turn;
  try {
    const found = (await json(`${base}/jobs?limit=${ASKED}`, { quiet })).jobs;
    if (mine !== turn) return; // a later look is under way, and knows more
    show(found.filter((job) => !job.deleted_at).slice(0, MOST));
    $("jobs-note").hidden = true;
    again(found.every((job) => FINAL.includes(job.state)) ? PAUSE.idle : PAUSE.busy);
  } catch (error) {
    if (!quiet) throw error;
    $("jobs-note").textContent = `This list may be old: ${error.message}`;
    $("jobs-note").hidden = false;
    if (mine === turn && error.status !== 401) again(PAUSE.idle);
  }
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
  const act = (label, path, method) => button(label, () => request(path, { method }).then(() => refresh()));
  const actions = [];
  const finetune = job.kind === "finetune";
  if (finetune || job.links.result) actions.push(button(finetune && !FINAL.includes(job.state) ? "Watch" : "Open", async () => onOpen(job)));
  if (!FINAL.includes(job.state) && !job.cancel_requested) actions.push(act("Cancel", job.links.cancel, "POST"));
  if (FINAL.includes(job.state)) actions.push(act("Delete", job.links.self, "DELETE"));
  const made = element("tr", {}, element("td", {}, name), element("td", {}, words(job)), element("td", {}, ...progress), element("td", {}, ...actions));
  made.dataset.job = job.id;
  return made;
}
