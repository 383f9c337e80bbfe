"""The formats that Pillow reads exactly: one guarded way to open them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from images.errors import BrokenImage
from images.info import ImageInfo
from images.source import Source

Array = NDArray[Any]


def opened(source: Source, info: ImageInfo, plugin: str) -> ImageFile.ImageFile:
    """The file opened by one Pillow plugin and no other; its size must be the one that was probed and checked."""
    try:
        image = Image.open(io.BytesIO(source.whole()), formats=[plugin])
    except Exception as error:
        raise BrokenImage(f"The {info.format.upper()} file is damaged.") from error
    if image.size != (info.width, info.height):
        raise BrokenImage(f"The {info.format.upper()} file gives two different sizes for its image.")
    return image


def frames(image: ImageFile.ImageFile, info: ImageInfo, mode: str) -> Array:
    """(N, H, W, C) uint8 samples of every frame, converted to `mode`."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    stack = np.empty((info.frames, info.height, info.width, bands), np.uint8)
    try:
        for index in range(info.frames):
            image.seek(index)
            frame = image if image.mode == mode else image.convert(mode)
            stack[index] = np.asarray(frame).reshape(info.height, info.width, bands)
    except Exception as error:
        raise BrokenImage(f"The {info.format.upper()} file's image data is damaged or cut off.") from error
    return stack


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Resolution in dots an inch, if the file gives a sensible one."""
    value: Any = image.info.get("dpi")
    try:
        x, y = float(value[0]), float(value[1])
    except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None
