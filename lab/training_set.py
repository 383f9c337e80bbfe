"""A folder of images, read into memory to train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lab import raw_sets
from lab.files import NoImages, Pixels, image_files, pages
from model.arrays.pixels import to_channels

SkipHandler = Callable[[Path, str], None]


def read_training_set(folder: Path, channels: int, on_skip: SkipHandler | None = None) -> list[Pixels]:
    """Every page of every readable file as (C, H, W); `on_skip(path, reason)` is told of each file that is not.

    Four channels are packed mosaics (`lab.raw_sets`).

    Raises:
        NoImages: none could be read.
    """
    if channels == raw_sets.CHANNELS:
        return raw_sets.read_raw_set(folder)
    images, reasons = [], []
    for path in image_files(folder):
        try:
            images += [to_channels(page, channels) for page in pages(path)]
        except (ValueError, OSError, MemoryError) as error:  # one bad file must not end a night's training
            reasons.append(f"{path.name}: {error}")
            if on_skip:
                on_skip(path, str(error))
    if not images:
        raise NoImages(f"{folder}: none of {len(reasons)} files could be read ({reasons[0]})")
    return images
