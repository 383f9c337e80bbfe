"""An image between its two files: pixels for the model, and all the rest that must come out as it came in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from images import exif as exif_block
from images.info import ImageInfo

Array = NDArray[Any]
Keep = Literal["keep", "safe", "none"]


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
    pages are channels of a microscope.
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

    @property
    def top(self) -> float | None:
        """The greatest value that a sample of the file can have, as it stands in `pixels`; None where that is a float.

        A pixel at `top` may have been clipped by the detector.
        """
        from images.samples import top

        return top(np.dtype(self.info.dtype), self.significant_bits)

    @property
    def shift(self) -> int:
        """What was added to the file's samples to make `pixels`: those are never negative."""
        from images.samples import shift

        return shift(np.dtype(self.info.dtype))

    def restore(self, pixels: Array, page: int | None = None) -> Array:
        """Pixels in the file's sample type, within its significant bits.

        Samples that the model left alone come back bit-exact, as do those that hold no data.

        With `page`, `pixels` are (1, H, W, C), that page alone.
        """
        from images.samples import from_working

        which = slice(None) if page is None else slice(page, page + 1)
        exact = None if self.exact is None else self.exact[which]
        dtype = np.dtype(self.info.dtype)
        return from_working(pixels, dtype, self.pixels[which], exact, self.significant_bits, self.no_data)


@dataclass(frozen=True)
class Encoded:
    """A file ready to be stored."""

    data: bytes
    media_type: str
    extension: str
