/** Server-Sent Events of a job by fetch: `EventSource` cannot send a key (WHATWG HTML, section 9.2.6, as far as needed). */

import { FINAL, json, request } from "./api.js";

const PAUSE = 1000;
const MOST_FAILURES = 10;

/**
 * Every event of a job from its first, until it has ended; the job then. Lost streams are taken up where they broke.
 * `onEvent(data)` hears each. Null if `signal` was aborted.
 */
export async function follow(job, onEvent, signal) {
  let last = 0;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": String(last) } : {}) };
      const answer = await request(job.links.events, { headers, signal });
      for await (const { id, data } of parsed(answer.body)) {
        [last, failures] = [id, 0];
        onEvent(data);
      }
      const now = await json(job.links.self, { signal });
      if (FINAL.includes(now.state)) return now;
    } catch (error) {
      if (signal.aborted) return null;
      if (error.status !== undefined || ++failures > MOST_FAILURES) throw error; // the service said no or is gone, or streams break ever again
    }
    await new Promise((wake) => setTimeout(wake, PAUSE));
  }
  return null;
}

async function* parsed(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value.replaceAll("\r\n", "\n");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
      if (fields.data) yield { id: Number(fields.id), data: JSON.parse(fields.data) };
    }
  }
}
