"""A scene that moves by parts of a pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 128


def scene(rows: float = 0.0, columns: float = 0.0, seed: int = 3) -> NDArray[np.float32]:
    """A band-limited scene (SIDE, SIDE), moved by a phase: what was at (y, x) is at (y - rows, x - columns)."""
    rng = np.random.default_rng(seed)
    frequencies = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    size = np.hypot(*frequencies)
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * np.exp(-((size / 0.06) ** 2))
    phase = np.exp(2j * np.pi * (rows * frequencies[0] + columns * frequencies[1]))
    found = np.fft.ifft2(spectrum * phase).real
    return (0.5 + 0.15 * found / np.fft.ifft2(spectrum).real.std()).astype(np.float32)
