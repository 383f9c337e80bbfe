"""Where in an image a change was held back, in words; see `restraint.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.report.layout import SAME, Layout

SIDE = 64  # of the squares of which the one with least change is named
HELD = 0.5  # share of the change below which a pixel counts as held back
SAID = 0.01  # share of the pixels from which on it is said


@dataclass
class Held:
    """Gathered tile by tile.

    Attributes:
        pixels: of all channels, whose change was held back.
        least: the mean share of the change in the square where it is least, and that square's first row and column.
    """

    pixels: int = 0
    least: tuple[float, int, int] = (1.0, 0, 0)

    def add(self, kept: NDArray[np.float32], corner: tuple[int, int], missing: NDArray[np.bool_] | None = None) -> None:
        """The share of the change that each pixel of a tile (c, h, w) got, and the tile's corner in its page.

        Those that are `missing` count for nothing: there was nothing to change.
        """
        if missing is not None:
            kept = np.where(missing, np.float32(1), kept)
        self.pixels += int(np.count_nonzero(kept < HELD))
        for row in range(0, kept.shape[1], SIDE):
            lines = kept[:, row : row + SIDE].mean((0, 1))
            starts = np.arange(0, lines.size, SIDE)
            means = np.add.reduceat(lines, starts) / np.diff([*starts, lines.size])
            column = int(means.argmin())
            self.least = min(self.least, (float(means[column]), corner[0] + row, corner[1] + column * SIDE))

    def is_said(self, of: int) -> bool:
        return self.pixels >= SAID * max(1, of)

    def warnings(self, of: int, layout: Layout = SAME) -> list[str]:
        """What a person should know of it, `of` so many pixels; nothing where it is little."""
        share = self.pixels / max(1, of)
        if not self.is_said(of):
            return []
        row, column = layout.place(self.least[1] + SIDE // 2, self.least[2] + SIDE // 2)
        return [
            f"in {100 * share:.0f} % of the image the pixels were left as they are, or nearly so: the noise there is "
            "so weak, or the structure so fine, that a change would have done more harm than good (most of all around "
            f"row {row}, column {column})"
        ]
