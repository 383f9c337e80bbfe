"""Small noisy training sets for the page's tests, and what a busy machine needs to learn from them in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
IMAGES = 6
PEDESTAL, GAIN, READ_NOISE = 0.15, 0.03, 0.02
ENVIRONMENT = {
    "B2S_MIN_SET_PIXELS": str(4 * SIDE * SIDE),
    "B2S_FINETUNE_THREADS": "1",
    "B2S_FINETUNE_NICE": "0",  # nobody else's denoise jobs are waited for here
}


def write_set(folder: Path) -> Path:
    """A folder as a microscope leaves it: images in a folder of it, on a pedestal, hidden files, and notes."""
    images = folder / "run-1"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(IMAGES):
        clean = np.maximum(0.7 * np.sin(x / (7 + number)) * np.cos(y / (9 + number)), 0)  # half of it dark
        values = PEDESTAL + GAIN * rng.poisson(clean / GAIN) + rng.normal(0, READ_NOISE, clean.shape)
        Image.fromarray((200 * values).clip(0, 255).astype(np.uint8)).save(images / f"field-{number}.png")
    (images / ".DS_Store").write_bytes(b"hidden")
    (folder / "notes.txt").write_text("not an image")
    return folder
