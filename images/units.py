"""What a file's samples measure: the number that other programs show for a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Units:
    """value = `offset` + `scale` · sample, in `name` (empty where the file does not say).

    FITS: BZERO, BSCALE, BUNIT (standard 4.0, section 4.4.2.5). DICOM: rescale intercept, slope and type (PS3.3
    C.11.1.1.2).
    """

    scale: float = 1.0
    offset: float = 0.0
    name: str = ""

    @classmethod
    def of(cls, scale: float, offset: float, name: str = "") -> Units:
        """What a header says; the sample itself where it says what cannot be (a scale of 0, numbers that are none)."""
        sane = math.isfinite(scale) and math.isfinite(offset) and scale
        return cls(scale, offset, name) if sane else cls(name=name)

    def value(self, sample: float) -> float:
        """The value of a sample."""
        return self.offset + self.scale * sample


STORED = Units()
"""The sample itself."""
