/** How an image file is to be turned for the eye (EXIF tag 274), and the file without that: results and `roi` are as stored. */

const ORIENTATION = 0x0112;
const text = (bytes, at, size) => String.fromCharCode(...bytes.subarray(at, at + size));

/** { blob, orientation }: a file that browsers decode as it is stored, and the 1 to 8 that was in it. */
export async function asStored(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const view = new DataView(bytes.buffer);
  try {
    const found = exif(bytes, view);
    const value = found && place(view, found.start, bytes[found.start] === 0x49);
    const orientation = value ? view.getUint16(value, bytes[found.start] === 0x49) : 1;
    if (!(orientation >= 2 && orientation <= 8)) return { blob, orientation: 1 };
    view.setUint16(value, 1, bytes[found.start] === 0x49);
    const parts = found.cut ? [bytes.subarray(0, found.cut[0]), bytes.subarray(found.cut[1])] : [bytes];
    return { blob: new Blob(parts, { type: blob.type }), orientation };
  } catch (error) {
    if (error instanceof RangeError) return { blob, orientation: 1 }; // cut off, or no EXIF after all
    throw error;
  }
}

/** From pixels as stored to pixels as seen, for an image stored as `width` × `height`: what a canvas takes as its transform. */
export function turn(orientation, width, height) {
  return [
    [1, 0, 0, 1, 0, 0], [-1, 0, 0, 1, width, 0], [-1, 0, 0, -1, width, height], [1, 0, 0, -1, 0, height],
    [0, 1, 1, 0, 0, 0], [0, 1, -1, 0, height, 0], [0, -1, -1, 0, height, width], [0, -1, 1, 0, 0, width],
  ][orientation - 1];
}

/** Where the EXIF block of a JPEG, PNG or WebP begins; `cut` is its chunk where that has a checksum. */
function exif(bytes, view) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return inJpeg(bytes, view);
  if (text(bytes, 1, 3) === "PNG") {
    for (let at = 8; at + 12 <= bytes.length; at += view.getUint32(at) + 12) {
      if (text(bytes, at + 4, 4) === "eXIf") return { start: at + 8, cut: [at, at + view.getUint32(at) + 12] };
    }
  }
  if (text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 4) === "WEBP") {
    for (let at = 12, size; at + 8 <= bytes.length; at += 8 + size + (size % 2)) {
      size = view.getUint32(at + 4, true);
      if (text(bytes, at, 4) === "EXIF") return { start: at + (text(bytes, at + 8, 4) === "Exif" ? 14 : 8) };
    }
  }
  return null;
}

function inJpeg(bytes, view) {
  for (let at = 2; bytes[at] === 0xff; ) {
    const marker = bytes[at + 1];
    if (marker === 0xff) at += 1; // padding
    else if (marker === 0xda || marker === 0xd9) return null;
    else if (marker === 0xe1 && text(bytes, at + 4, 4) === "Exif") return { start: at + 10 };
    else at += 2 + view.getUint16(at + 2);
  }
  return null;
}

/** Where the orientation stands in the EXIF block at `start`; 0 if nowhere. */
function place(view, start, little) {
  const directory = start + view.getUint32(start + 4, little);
  for (let left = view.getUint16(directory, little), entry = directory + 2; left > 0; left--, entry += 12) {
    if (view.getUint16(entry, little) === ORIENTATION) return entry + 8;
  }
  return 0;
}
