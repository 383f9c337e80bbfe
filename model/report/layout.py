"""Where the pixels of an array lie in the image that a person sees: the same place, or a site of a colour mosaic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """How places of an array are named.

    Attributes:
        step: pixels of the image from one of the array's to the next; above 1, channels are the sites in such a block
            of an image of one channel, row by row.
        top, left: of the first block, rows and columns that the image does not have.
        height, width: of the image; None: of the array.
    """

    step: int = 1
    top: int = 0
    left: int = 0
    height: int | None = None
    width: int | None = None

    @property
    def one_channel(self) -> bool:
        """Whether the array's channels are one in the image."""
        return self.step > 1

    def rectangle(self, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
        """First column and row, columns and rows in the image of a rectangle of the array."""
        columns = self._ends(x, width, self.left, self.width)
        rows = self._ends(y, height, self.top, self.height)
        return columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0]

    def place(self, row: int, column: int) -> tuple[int, int]:
        """Row and column of the image."""
        x, y, *_ = self.rectangle(column, row, 1, 1)
        return y, x

    def channel(self, index: int) -> str:
        """What a person calls a channel, counted from 0 here and from 1 there."""
        if not self.one_channel:
            return f"channel {index + 1}"
        row, column = divmod(index, self.step)
        side = ("first", "second")
        return f"every second pixel from the {side[row ^ self.top]} row and the {side[column ^ self.left]} column on"

    def _ends(self, first: int, length: int, cut: int, most: int | None) -> tuple[int, int]:
        start, stop = (self.step * place - cut for place in (first, first + length))
        return max(start, 0), stop if most is None else min(stop, most)


SAME = Layout()
"""An array's own rows and columns."""
