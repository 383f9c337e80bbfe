"""Samples that take only some of the bits of a word: what lies in the other bits is no brightness, and comes back.

Source: DICOM PS3.5 section 8.1.1 (Bits Stored, High Bit) and PS3.5-2004 section 8.1.2: overlays in the unused bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class BitField:
    """`bits` bits from bit `low` on of integers of type `dtype`, which is signed if the samples are."""

    low: int
    bits: int
    dtype: np.dtype[Any]

    @property
    def is_whole(self) -> bool:
        return self.bits == 8 * self.dtype.itemsize

    @property
    def _word(self) -> np.dtype[Any]:
        return np.dtype(f"u{self.dtype.itemsize}")

    @property
    def _mask(self) -> Any:
        return self._word.type((1 << self.bits) - 1)

    def samples(self, words: Array) -> Array:
        """The samples in words, with their sign, as `dtype`."""
        spare = 8 * self.dtype.itemsize - self.bits
        left = words.view(self._word) << self._word.type(spare - self.low)
        found: Array = left.view(self.dtype) >> self.dtype.type(spare)
        return found

    def rest(self, words: Array) -> Array:
        """The other bits of words, in their places."""
        found: Array = words.view(self._word) & ~(self._mask << self._word.type(self.low))
        return found

    def joined(self, samples: Array, rest: Array | None) -> Array:
        """Words of samples and the other bits; without these, a sample's sign is carried on into the bits above it."""
        words = samples.view(self._word) << self._word.type(self.low)
        if rest is not None:
            words = (words & (self._mask << self._word.type(self.low))) | rest
        joined: Array = words.view(self.dtype)
        return joined

    def is_clean(self, words: Array) -> NDArray[np.bool_]:
        """Where the other bits hold nothing: zeros, or above a signed sample its sign."""
        clean: NDArray[np.bool_] = self.joined(self.samples(words), None) == words
        return clean

    def continues(self, words: Array) -> bool:
        """Whether samples (..., H, W, C) go on smoother across pixels if the other bits are taken for brightness too.

        Asked where neighbours differ in these: samples larger than the bits that a file states run on, marks jump.
        """
        rest = self.rest(words)
        edges = rest[..., 1:, :] != rest[..., :-1, :]
        if not edges.any():
            return False

        def jump(values: Array) -> float:
            wide = values.astype(np.float64)
            return float(np.abs(wide[..., 1:, :] - wide[..., :-1, :])[edges].mean())

        return jump(words) < jump(self.samples(words))
