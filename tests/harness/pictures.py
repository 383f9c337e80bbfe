"""Clean and noisy pictures, so that a test can tell whether denoising helped."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

SIDE = 512


@dataclass(frozen=True)
class Picture:
    """`clean` and `noisy` are (H, W) or (H, W, 3) in the sample type of `data`, the encoded noisy one."""

    clean: NDArray[Any]
    noisy: NDArray[Any]
    data: bytes
    media_type: str

    def gain(self, denoised: NDArray[Any]) -> float:
        """How many times smaller the mean squared error got."""
        clean = self.clean.astype(np.float64)
        return float(np.mean((self.noisy - clean) ** 2) / np.mean((denoised - clean) ** 2))


def scene(channels: int = 1, height: int = SIDE, width: int = SIDE) -> NDArray[np.float64]:
    """A smooth scene with edges in [0.1, 0.9], (H, W), or (H, W, C) with a tint, as a photograph's channels have."""
    y, x = np.mgrid[:height, :width]
    waves: NDArray[np.float64] = 0.5 + 0.2 * np.sin(x / 37) * np.cos(y / 23) + 0.2 * ((x // 64 + y // 64) % 2 - 0.5)
    if channels == 1:
        return waves
    return np.stack([(1 - 0.2 * c) * waves + 0.1 * c for c in range(channels)], axis=-1)


def noisy(clean: NDArray[np.float64], alpha: float = 0.01, sigma: float = 0.02, seed: int = 7) -> NDArray[np.float64]:
    """Poisson-Gaussian noise: Var = alpha * x + sigma^2."""
    generator = np.random.default_rng(seed)
    return alpha * generator.poisson(clean / alpha) + generator.normal(0, sigma, clean.shape)


def quantised(values: NDArray[np.float64], dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    top = np.iinfo(dtype).max
    return np.clip(np.rint(values * top), 0, top).astype(dtype)


def tiff16() -> Picture:
    clean = scene()
    image = quantised(noisy(clean), np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image)
    return Picture(quantised(clean, np.uint16), image, buffer.getvalue(), "image/tiff")


def png(channels: int) -> Picture:
    clean = scene(channels)
    image = quantised(noisy(clean), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return Picture(quantised(clean, np.uint8), image, buffer.getvalue(), "image/png")


def rotated_jpeg() -> Picture:
    """Portrait on the screen, landscape in the file: EXIF orientation 6."""
    clean = scene(3, height=384, width=512)
    image = quantised(noisy(clean), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=98, subsampling=0, exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(buffer.getvalue())))
    return Picture(quantised(clean, np.uint8), stored, buffer.getvalue(), "image/jpeg")


def broken_png() -> bytes:
    """A PNG with a sound header and checksums over pixels that cannot be unpacked: only decoding finds out."""
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"this is no zlib stream" * 20), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def many_tiles() -> Picture:
    """A strip of 32 tiles, so that there is time to stop between them."""
    clean = quantised(scene(1, height=512, width=32_768), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(clean).save(buffer, "PNG", compress_level=1)
    return Picture(clean, clean, buffer.getvalue(), "image/png")
