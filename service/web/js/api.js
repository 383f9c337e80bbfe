/** The HTTP interface, as far as the page needs it. Errors are Problem: what went wrong, and the remedy. */

const KEY = "b2s-key";
const PASSING = [0, 429, 502, 503]; // 0: no connection
const MOST_TRIES = 8;
const LONGEST_WAIT = 60; // seconds; what asks for more, as a quota of the day does, is said at once
export const base = document.body.dataset.base;

export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? `The service answered ${status}.`);
    this.status = status;
    this.title = document.title ?? "The service did not understand";
    this.requestId = document.request_id;
  }

  /** Whether the same may go well a little later. */
  get passing() {
    return PASSING.includes(this.status);
  }
}

export const FINAL = ["succeeded", "failed", "canceled"];

let askForKey = async () => false;
let asked = null; // the answer that several requests wait for, so that a person is asked once

/** `ask` shows the person a dialog and resolves to whether there is a new key to try with. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

let tellOfWait = () => {};

/** `tell(seconds, problem)` hears that a request is made again after a while, and with 0 that it went well. */
export function onWait(tell) {
  tellOfWait = tell;
}

export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/**
 * Ask the service. Without a key where one is needed the person is asked for it, and what is busy or gone for a moment is asked
 * again where that is safe, unless the request is `quiet`.
 */
export async function request(path, { quiet = false, ...options } = {}) {
  const safe = (options.method ?? "GET") === "GET" || options.headers?.["Idempotency-Key"] !== undefined;
  for (let tries = 1; ; ) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const answer = await fetch(path, { ...options, headers }).catch(() => null);
    options.signal?.throwIfAborted();
    if (answer?.ok) {
      if (tries > 1) tellOfWait(0);
      return answer;
    }
    const document = answer ? await answer.json().catch(() => ({})) : { title: "No connection", detail: "The service does not answer. Is it running? Try again." };
    const problem = new Problem(answer?.status ?? 0, document);
    if (problem.status === 401 && !quiet && (await newKey(key, document.detail))) continue;
    const asked = Number(answer?.headers.get("Retry-After") ?? NaN);
    const seconds = asked > 0 ? asked : Math.min(8, 2 ** (tries - 1));
    if (quiet || !safe || !problem.passing || seconds > LONGEST_WAIT || tries++ >= MOST_TRIES) throw problem;
    tellOfWait(seconds, problem);
    await new Promise((wake) => setTimeout(wake, 1000 * seconds));
    options.signal?.throwIfAborted();
  }
}

/** Whether there is another key than the one that was refused: given meanwhile, or now by the person. */
async function newKey(refused, reason) {
  if (sessionStorage.getItem(KEY) !== refused) return true;
  asked ??= askForKey(reason).finally(() => (asked = null));
  return asked;
}

const keyed = () => ({ "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) });

export const json = async (path, options) => (await request(path, options)).json();

/** POST a file to /denoise; the job. */
export function denoise(file, options) {
  const form = new FormData();
  for (const [name, value] of Object.entries(options)) if (value !== "" && value !== undefined) form.append(name, value);
  form.append("image", file, file.name);
  return json(`${base}/denoise`, { method: "POST", body: form, headers: keyed() });
}

export function finetune(files, options) {
  const form = new FormData();
  for (const [name, value] of Object.entries(options)) if (value !== "") form.append(name, value);
  for (const file of files) form.append("images", file, file.name);
  return json(`${base}/finetune`, { method: "POST", body: form, headers: keyed() });
}

/** The job once it has ended; `onChange` hears of every look at it. Slows down where the wait is long. */
export async function ended(job, onChange = () => {}) {
  for (let pause = 250; !FINAL.includes(job.state); pause = Math.min(2000, pause * 1.2)) {
    onChange(job);
    await new Promise((wake) => setTimeout(wake, pause));
    job = await json(job.links.self);
  }
  onChange(job);
  return job;
}
