/** The job list: state, progress, and what can be done with each. */

import { base, json, request } from "./api.js";
import { $, element } from "./elements.js";

const MOST = 20;
const names = new Map();

/** Remember what the person called the upload of a job. */
export function named(job, name) {
  names.set(job.id, name);
}

export async function refresh(onOpen, onError) {
  const { jobs } = await json(`${base}/jobs?limit=${MOST}`);
  $("no-jobs").hidden = jobs.length > 0;
  $("jobs").querySelector("tbody").replaceChildren(...jobs.map((job) => row(job, () => refresh(onOpen, onError), onOpen, onError)));
}

function row(job, again, onOpen, onError) {
  const { done, total, unit } = job.progress;
  const words = job.error ? job.error.detail : job.state === "queued" && job.queue_position ? `queued, place ${job.queue_position}` : job.state;
  const name = names.get(job.id) ?? `${job.kind}, ${new Date(job.created_at).toLocaleTimeString()}`;
  const progress = total ? [element("progress", { max: total, value: done, "aria-label": `${name}: ${done} of ${total} ${unit}s` })] : [];
  const act = (label, path, method) => {
    const button = element("button", { type: "button", "aria-label": `${label} ${name}` }, label);
    button.addEventListener("click", () => request(path, { method }).then(again).catch(onError));
    return button;
  };
  const actions = [];
  if (job.links.result && !job.deleted_at && job.kind === "denoise") {
    const open = element("button", { type: "button", "aria-label": `Open ${name}` }, "Open");
    open.addEventListener("click", () => onOpen(job));
    actions.push(open);
  }
  if (job.links.cancel) actions.push(act("Cancel", job.links.cancel, "POST"));
  else if (!job.deleted_at) actions.push(act("Delete", job.links.self, "DELETE"));
  return element("tr", {}, element("td", {}, name), element("td", {}, words), element("td", {}, ...progress), element("td", {}, ...actions));
}
