"""An image between its two files: pixels for the model, and all the rest that must come out as it came in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from images import exif as exif_block
from images import mosaic
from images.info import ImageInfo
from images.units import STORED, Units

Array = NDArray[Any]
Keep = Literal["keep", "safe", "none"]
Dtype = Literal["float32"]
_MARKS_BY_HEADER = ("fits", "dicom")
"""Formats whose mark for "no data" is a stored number, which the header of float32 samples has no place for."""


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels, in terms every format shares; `native` is understood by its own codec only.

    `exif` starts at its byte-order mark, `dpi` is (x, y) dots an inch, `comments` are plain texts.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    comments: tuple[str, ...] = ()
    native: dict[str, Any] = field(default_factory=dict)

    def kept(self, mode: Keep) -> Metadata:
        """What goes out: `keep` all, `safe` all but places, `none` only what the look depends on.

        The colour profile and the orientation always stay: without them the result would not look like the input.
        """
        exif = exif_block.without_thumbnail(self.exif)
        if mode == "keep":
            return replace(self, exif=exif)
        if mode == "safe":
            xmp = b"" if b"GPS" in self.xmp else self.xmp
            native = {**self.native, "safe": True}
            return replace(self, exif=exif_block.without_gps(exif), xmp=xmp, native=native)
        return Metadata(exif=exif_block.only_orientation(exif), icc=self.icc)


@dataclass(frozen=True)
class Decoded:
    """Pixels (N, H, W, C), uint8, uint16 or float32, without alpha; alpha (N, H, W) in the file's depth, or None.

    `restore` brings pixels back to the file's own sample type where that is none of the three. `significant_bits` are
    those of an integer sample where they are fewer than its type has (12 in 16), else None. `no_data` is the range of
    samples that the file declares to hold none, in its own type. `page_channels` is the channel of each page where
    pages are channels of a microscope, `page_series` the series of each where the file says which pages follow each
    other in time or depth (`series` has it for every file). `pattern` names the colours of a 2 x 2 filter mosaic that
    the file declares; where `sites` is set, pixels are the four planes of such a mosaic and `info` and `alpha` speak
    of the mosaic.
    `units` are what the file says that its samples measure.
    """

    pixels: Array
    alpha: Array | None
    info: ImageInfo
    metadata: Metadata = field(default_factory=Metadata)
    warnings: tuple[str, ...] = ()
    denoised_before: str | None = None
    exact: Array | None = None
    significant_bits: int | None = None
    no_data: tuple[float, float] | None = None
    page_channels: tuple[int, ...] | None = None
    page_series: tuple[int, ...] | None = None
    pattern: str = ""
    sites: mosaic.Sites | None = None
    units: Units = STORED

    @property
    def top(self) -> float | None:
        """The greatest value that a sample of the file can have, as it stands in `pixels`; None where that is a float.

        A pixel at `top` may have been clipped by the detector.
        """
        from images.samples import top

        return top(np.dtype(self.info.dtype), self.significant_bits)

    @property
    def series(self) -> tuple[int, ...]:
        """The series of frames of each page: as the file says, else pages of one channel follow each other."""
        return self.page_series or self.page_channels or (0,) * len(self.pixels)

    @property
    def shift(self) -> int:
        """What was added to the file's samples to make `pixels`: those are never negative."""
        from images.samples import shift

        return shift(np.dtype(self.info.dtype))

    def missing(self, index: int, page: Array) -> NDArray[np.bool_] | None:
        """Where the file says that page number `index` (H, W, C) holds no data: NaN, infinities, its `no_data`."""
        from images.samples import without_data

        return None if self.exact is None else without_data(self.exact[index], self.no_data)

    def restore(self, pixels: Array, page: int | None = None, dtype: Dtype | None = None) -> Array:
        """Pixels (N, H, W, C) in the file's sample type, within its significant bits; planes of a mosaic joined.

        Samples that the model left alone come back bit-exact, as do those that hold no data.

        With `page`, `pixels` are (1, H, W, C), that page alone. As `dtype` float32 (the one that is given by name), in
        the units of the file's values, and no rounding takes place.
        """
        from images.samples import as_floats, from_working

        which = slice(None) if page is None else slice(page, page + 1)
        exact = None if self.exact is None else self.exact[which]
        own, before = np.dtype(self.info.dtype), self.pixels[which]
        if dtype is None:
            stored = from_working(pixels, own, before, exact, self.significant_bits, self.no_data)
        else:
            stored = as_floats(
                pixels, own, before, exact, self.units, self.no_data, self.info.format not in _MARKS_BY_HEADER
            )
        return stored if self.sites is None else mosaic.joined(stored, self.sites)


@dataclass(frozen=True)
class Encoded:
    """A file ready to be stored."""

    data: bytes
    media_type: str
    extension: str
