"""Which codec is fastest and exact, at 12 megapixels on one core: `python -m benchmarks.codecs`.

Every codec sees the same picture, the sample scene tiled to 4000 x 3000 RGB with fresh noise of 2 levels, so that it
compresses like a photograph. Times are CPU seconds of the best of `--repeats` runs; `exact` is checked, not assumed.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from images.decode import decode_here
from images.decoded import Decoded, Metadata
from images.encode import encode
from images.info import ImageInfo

Array = NDArray[Any]
Write = Callable[[Array], Any]
Read = Callable[[Any], Any]
HEIGHT, WIDTH = 3000, 4000


def picture() -> Array:
    """4000 x 3000 RGB uint8."""
    tile = np.asarray(Image.open(Path(__file__).parent.parent / "examples" / "noisy.png"))
    smooth = np.asarray(Image.fromarray(tile).resize((tile.shape[1] * 4, tile.shape[0] * 4), Image.Resampling.BICUBIC))
    repeats = -(-HEIGHT // smooth.shape[0]), -(-WIDTH // smooth.shape[1])
    tiled = np.tile(smooth, (*repeats, 1))[:HEIGHT, :WIDTH].astype(np.float32)
    tiled += np.random.default_rng(0).normal(0, 2, tiled.shape).astype(np.float32)
    return np.clip(np.rint(tiled), 0, 255).astype(np.uint8)


def by_pillow(kind: str, **options: Any) -> tuple[Write, Read]:
    """Encode and decode by Pillow."""

    def write(pixels: Array) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        return buffer.getvalue()

    return write, lambda data: np.asarray(Image.open(io.BytesIO(data)))


def ours(kind: str) -> tuple[Write, Read]:
    """Encode and decode by this service, probe and metadata included."""

    def write(pixels: Array) -> bytes:
        info = ImageInfo(kind, pixels.shape[1], pixels.shape[0], 3, pixels.dtype.name)
        return encode(Decoded(pixels[None], None, info, Metadata()), pixels[None]).data

    return write, lambda data: decode_here(data).pixels[0]


def sub_filter(pixels: Array, compress: Callable[[Any], Any]) -> Any:
    """PNG image data with the Sub filter on each row."""
    rows = pixels.reshape(len(pixels), -1)
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1
    filtered[:, 1:4] = rows[:, :3]
    np.subtract(rows[:, 3:], rows[:, :-3], out=filtered[:, 4:])
    return compress(filtered)


def codecs() -> dict[str, tuple[Write, Read | None]]:
    """Name to (encode, decode or None)."""
    ic = imagecodecs
    found: dict[str, tuple[Write, Read | None]] = {
        "PNG, this service": ours("png"),
        "PNG, Pillow level 6": by_pillow("PNG"),
        "PNG, Pillow level 1": by_pillow("PNG", compress_level=1),
        "PNG, imagecodecs (libpng) level 1, Sub, RLE": (
            lambda p: ic.png_encode(p, 1, strategy=3, filter=16),
            ic.png_decode,
        ),
        "PNG, imagecodecs (libspng) level 1": (lambda p: ic.spng_encode(p, 1), ic.spng_decode),
        "PNG data, Sub + libdeflate 1": (lambda p: sub_filter(p, lambda r: ic.deflate_encode(r, 1)), None),
        "PNG data, Sub + ISA-L 1": (lambda p: sub_filter(p, lambda r: isal_zlib.compress(r, 1)), None),
        "PNG data, Sub + ISA-L 2": (lambda p: sub_filter(p, lambda r: isal_zlib.compress(r, 2)), None),
        "TIFF deflate, this service": ours("tiff"),
        "TIFF deflate, Pillow": by_pillow("TIFF", compression="tiff_adobe_deflate"),
        "TIFF LZW, Pillow": by_pillow("TIFF", compression="tiff_lzw"),
        "JPEG, this service": ours("jpeg"),
        "JPEG, Pillow quality 95": by_pillow("JPEG", quality=95, subsampling=0),
        "JPEG, imagecodecs (turbo) quality 95": (lambda p: ic.jpeg8_encode(p, 95), ic.jpeg8_decode),
    }
    try:
        pyvips = import_module("pyvips")  # not a dependency: `pip install pyvips pyvips-binary` to compare with it
    except (ImportError, OSError):
        return found
    found["PNG, libvips level 1"] = (
        lambda p: bytes(pyvips.Image.new_from_array(p).pngsave_buffer(compression=1)),
        lambda data: pyvips.Image.new_from_buffer(data, "").numpy(),
    )
    return found


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """(CPU seconds of the best run, its result)."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return best, result


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pixels = picture()
    print("| codec | encode s | decode s | sum s | MB | exact |\n|---|---|---|---|---|---|")
    for name, (write, read) in codecs().items():
        encoding, data = timed(lambda write=write: write(pixels), repeats)  # type: ignore[misc]
        decoding, back = timed(lambda read=read, data=data: read(data), repeats) if read else (0.0, None)  # type: ignore[misc]
        exact = "" if back is None else "yes" if np.array_equal(back, pixels) else "no"
        both = f"{decoding:.2f} | {encoding + decoding:.2f}" if read else "- | -"
        print(f"| {name} | {encoding:.2f} | {both} | {len(data) / 1e6:.1f} | {exact} |", flush=True)


if __name__ == "__main__":
    main()
