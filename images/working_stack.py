"""A decoded stack, put together page by page: no more than a page at a time stands in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.limits import MIB
from images.samples import NoData, fill_warning, filled, unconverted

Array = NDArray[Any]
Allocate = Callable[[tuple[int, ...], Any], Array]
_RELEASE_AFTER = 64 * MIB


class WorkingStack:
    """As `images.samples.to_working` on a whole stack, in arrays from `allocate`.

    Samples that hold no data are filled with the median of their page. Pages must come in order, all of one type.

    Attributes:
        pixels: (N, H, W, C) uint8, uint16 or float32.
        alpha: (N, H, W) in the file's type, or None.
        exact: (N, H, W, C) samples as stored where pixels do not tell some of them (rounded, filled), or None.
        dtype: NumPy's name of the file's sample type.
    """

    def __init__(self, frames: int, allocate: Allocate, no_data: NoData | None = None) -> None:
        self._frames, self._allocate, self._no_data = frames, allocate, no_data
        self._pixels: Array | None = None
        self._filled = self._since = 0
        self.alpha: Array | None = None
        self.exact: Array | None = None
        self.dtype = ""

    @property
    def pixels(self) -> Array:
        assert self._pixels is not None, "no page was put"
        return self._pixels

    @property
    def warnings(self) -> tuple[str, ...]:
        return fill_warning(self._filled, self._no_data)

    def put(self, index: int, colours: Array, alpha: Array | None) -> None:
        """Add page `index`: colours (H, W, C) of any real type, alpha (H, W)."""
        colours = np.ascontiguousarray(colours, dtype=colours.dtype.newbyteorder("="))
        pixels, exact, count = filled(colours, self._no_data)
        self._filled += count
        if self._pixels is None:
            self.dtype = colours.dtype.name
            self._pixels = (
                pixels[None] if self._frames == 1 else self._allocate((self._frames, *pixels.shape), pixels.dtype)
            )
        if self._frames > 1:
            self._pixels[index] = pixels
        if exact is not None or self.exact is not None:
            self._put_exact(index, colours)
        if alpha is not None:
            if self.alpha is None:
                self.alpha = self._allocate((self._frames, *alpha.shape), alpha.dtype)
            self.alpha[index] = alpha
        self._let_go(colours.nbytes)

    def _put_exact(self, index: int, stored: Array) -> None:
        if self.exact is None:
            self.exact = self._allocate((self._frames, *stored.shape), stored.dtype)
            for earlier in range(index):  # had none, so their pixels are exact
                self.exact[earlier] = unconverted(self.pixels[earlier], stored.dtype)
        self.exact[index] = stored

    def _let_go(self, size: int) -> None:
        self._since += size
        if self._since > _RELEASE_AFTER:
            self._since = 0
            for array in (self._pixels, self.alpha, self.exact):
                if array is not None:
                    scratch.release(array)
