/** TIFF and BigTIFF to numbers (TIFF 6.0): strips or tiles, chunky, plain or Deflate, 8/16/32-bit integers and float32. */

import { inflated } from "./png.js";
import { Unreadable } from "./unreadable.js";

const SIZES = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 11: 4, 12: 8, 13: 4, 16: 8 };
const ARRAYS = { "1/8": Uint8Array, "1/16": Uint16Array, "1/32": Uint32Array, "2/8": Int8Array, "2/16": Int16Array, "2/32": Int32Array, "3/32": Float32Array };
const MOST_BYTES = 600e6;

export async function readTiff(buffer) {
  const view = new DataView(buffer);
  const little = view.getUint8(0) === 0x49;
  const big = view.getUint16(2, little) === 43;
  const seen = new Set();
  const pages = [];
  let first;
  for (let offset = big ? Number(view.getBigUint64(8, little)) : view.getUint32(4, little), bytes = 0; offset && !seen.has(offset); ) {
    seen.add(offset);
    const { tags, next } = directory(view, offset, little, big);
    const layout = describe(tags);
    if (!(tags[254]?.[0] & 1)) {
      first ??= layout;
      if (layout.width !== first.width || layout.height !== first.height || layout.samples !== first.samples) break;
      bytes += layout.width * layout.height * layout.samples * layout.Type.BYTES_PER_ELEMENT;
      if (bytes > MOST_BYTES) throw new Unreadable("The stack is too large to be shown here.");
      pages.push(await pixels(buffer, layout, little));
    }
    offset = next;
  }
  if (!pages.length) throw new Unreadable("The TIFF holds no image.");
  const { width, height, samples, Type } = first;
  return { width, height, channels: samples, pages, integer: Type !== Float32Array };
}

function directory(view, offset, little, big) {
  const count = big ? Number(view.getBigUint64(offset, little)) : view.getUint16(offset, little);
  const [start, width, inline] = big ? [offset + 8, 20, 8] : [offset + 2, 12, 4];
  const tags = {};
  for (let entry = start; entry < start + count * width; entry += width) {
    const kind = view.getUint16(entry + 2, little);
    const number = big ? Number(view.getBigUint64(entry + 4, little)) : view.getUint32(entry + 4, little);
    const size = (SIZES[kind] ?? 0) * number;
    let at = entry + width - inline;
    if (size > inline) at = big ? Number(view.getBigUint64(at, little)) : view.getUint32(at, little);
    if ([1, 3, 4, 16].includes(kind)) tags[view.getUint16(entry, little)] = numbers(view, at, kind, number, little);
  }
  const end = start + count * width;
  return { tags, next: big ? Number(view.getBigUint64(end, little)) : view.getUint32(end, little) };
}

function numbers(view, at, kind, count, little) {
  const read = { 1: () => view.getUint8(at), 3: () => view.getUint16(at, little), 4: () => view.getUint32(at, little), 16: () => Number(view.getBigUint64(at, little)) }[kind];
  return Array.from({ length: count }, () => {
    const value = read();
    at += SIZES[kind];
    return value;
  });
}

function describe(tags) {
  const [width, height, samples] = [tags[256]?.[0], tags[257]?.[0], tags[277]?.[0] ?? 1];
  const [compression, predictor, planar, photometric] = [tags[259]?.[0] ?? 1, tags[317]?.[0] ?? 1, tags[284]?.[0] ?? 1, tags[262]?.[0] ?? 1];
  const Type = ARRAYS[`${tags[339]?.[0] ?? 1}/${tags[258]?.[0] ?? 1}`];
  const readable = Type && [1, 8, 32946].includes(compression) && predictor <= 2 && (planar === 1 || samples === 1) && [1, 2].includes(photometric);
  if (!readable || (predictor === 2 && Type === Float32Array)) throw new Unreadable("This kind of TIFF is not shown here.");
  const tiled = tags[324] !== undefined;
  return {
    width, height, samples, compression, predictor, Type,
    blockWidth: tiled ? tags[322][0] : width,
    blockHeight: tiled ? tags[323][0] : Math.min(tags[278]?.[0] ?? height, height),
    offsets: tags[tiled ? 324 : 273],
    sizes: tags[tiled ? 325 : 279],
  };
}

async function pixels(buffer, layout, little) {
  const { width, height, samples, blockWidth, blockHeight, Type } = layout;
  const page = new Type(width * height * samples);
  const across = Math.ceil(width / blockWidth);
  for (let index = 0; index < layout.offsets.length; index++) {
    const block = await unpacked(buffer, layout, index, little);
    const [left, top] = [(index % across) * blockWidth, Math.floor(index / across) * blockHeight];
    const row = Math.min(blockWidth, width - left) * samples;
    for (let y = 0; y < Math.min(blockHeight, height - top); y++) {
      const from = block.subarray(y * blockWidth * samples, y * blockWidth * samples + row);
      if (layout.predictor === 2) for (let i = samples; i < from.length; i++) from[i] += from[i - samples];
      page.set(from, ((top + y) * width + left) * samples);
    }
  }
  return page;
}

async function unpacked(buffer, { offsets, sizes, compression, Type }, index, little) {
  let bytes = new Uint8Array(buffer.slice(offsets[index], offsets[index] + sizes[index]));
  if (compression !== 1) bytes = await inflated(new Blob([bytes]));
  const size = Type.BYTES_PER_ELEMENT;
  if (!little && size > 1) for (let at = 0; at + size <= bytes.length; at += size) bytes.subarray(at, at + size).reverse();
  return new Type(bytes.buffer, 0, Math.floor(bytes.length / size));
}
