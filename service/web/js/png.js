/** 16-bit PNG to numbers (PNG third edition, sections 7 and 9). Not interlaced; the browser inflates. */

import { Unreadable } from "./unreadable.js";

const SAMPLES = { 0: 1, 2: 3, 4: 2, 6: 4 };

export async function readPng16(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const [width, height, colour, interlaced] = [view.getUint32(16), view.getUint32(20), data[25], data[28]];
  const samples = SAMPLES[colour];
  if (!samples || interlaced) throw new Unreadable("This kind of 16-bit PNG is not shown here.");
  const parts = [];
  for (let place = 8; place + 8 <= data.length; ) {
    const size = view.getUint32(place);
    if (String.fromCharCode(...data.subarray(place + 4, place + 8)) === "IDAT") parts.push(data.subarray(place + 8, place + 8 + size));
    place += size + 12;
  }
  const raw = await inflated(new Blob(parts));
  const channels = samples > 2 ? 3 : 1;
  const page = new Uint16Array(width * height * channels);
  const stride = width * samples * 2;
  let before = new Uint8Array(stride);
  for (let y = 0, to = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    const line = raw.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1));
    unfilter(filter, line, before, samples * 2);
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        const at = (x * samples + c) * 2;
        page[to++] = (line[at] << 8) | line[at + 1];
      }
    }
    before = line;
  }
  return { width, height, channels, pages: [page], integer: true };
}

/** zlib data of a Blob, unpacked. */
export async function inflated(blob) {
  return new Uint8Array(await new Response(blob.stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

function unfilter(filter, line, before, step) {
  for (let i = 0; i < line.length; i++) {
    const left = i >= step ? line[i - step] : 0;
    const up = before[i];
    if (filter === 1) line[i] += left;
    else if (filter === 2) line[i] += up;
    else if (filter === 3) line[i] += (left + up) >> 1;
    else if (filter === 4) line[i] += paeth(left, up, i >= step ? before[i - step] : 0);
  }
}

function paeth(left, up, corner) {
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}
