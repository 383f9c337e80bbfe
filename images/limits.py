"""How large an image may be. Checked from headers, before a single pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from images.errors import ImageTooLarge
from images.formats import FORMATS

if TYPE_CHECKING:
    from images.info import ImageInfo

MIB = 1 << 20
GIB = 1 << 30
BYTES_A_CPU_SECOND = 16 * MIB
"""The slowest codec (LZMA TIFF) decodes about 40 MB/s."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds for one file; every field is inclusive.

    `max_pixels` bounds what stands in memory at a time: width x height of one frame, or of all frames together in
    formats that are read or written at once. `max_decoded_bytes` bounds all frames together, as stored.
    `cpu_seconds` and `memory_bytes` bound the process that decodes (`images.sandbox`), over what pixels of the
    announced size need.
    """

    max_bytes: int = 512 * MIB
    max_pixels: int = 100_000_000
    max_side: int = 65_535
    max_frames: int = 10_000
    max_channels: int = 64
    max_decoded_bytes: int = 4 * GIB
    max_metadata_bytes: int = 16 * MIB
    cpu_seconds: int = 8
    memory_bytes: int = 1 * GIB

    def check_bytes(self, size: int) -> None:
        """Raise `ImageTooLarge` if a file of `size` bytes is over the limit."""
        if size > self.max_bytes:
            raise ImageTooLarge(f"The file has {size:,} bytes; the limit is {self.max_bytes:,}.")

    def check(self, info: ImageInfo) -> None:
        """Raise `ImageTooLarge` if what the header announces is over a limit."""
        if max(info.width, info.height) > self.max_side:
            raise ImageTooLarge(
                f"The image is {info.width} x {info.height} pixels; the longest side allowed is {self.max_side:,}."
            )
        if info.width * info.height > self.max_pixels:
            raise ImageTooLarge(
                f"The image has {info.width * info.height:,} pixels ({info.width} x {info.height}); "
                f"the limit is {self.max_pixels:,}."
            )
        if not info.paged:
            self.check_at_once(info, f"{FORMATS[info.format].title} is read at once")
        if info.frames > self.max_frames:
            raise ImageTooLarge(f"The file has {info.frames:,} pages or frames; the limit is {self.max_frames:,}.")
        if info.channels > self.max_channels:
            raise ImageTooLarge(f"The image has {info.channels} channels; the limit is {self.max_channels}.")
        if info.decoded_bytes > self.max_decoded_bytes:
            raise ImageTooLarge(
                f"Decoded, the image would take {info.decoded_bytes:,} bytes; the limit is {self.max_decoded_bytes:,}."
            )

    def check_at_once(self, info: ImageInfo, why: str) -> None:
        """Raise `ImageTooLarge` if all frames of `info`, which stand in memory together, are over the limit of one."""
        if info.pixels > self.max_pixels:
            raise ImageTooLarge(
                f"The image has {info.pixels:,} pixels in {info.frames:,} frames; {why}, so the limit of "
                f"{self.max_pixels:,} is for all of them. The pages of a TIFF, FITS or NPY stack count one by one."
            )

    def check_result(self, info: ImageInfo, target: str) -> None:
        """Raise `ImageTooLarge` if the format `target` is written at once and all of the result is over the limit."""
        if not FORMATS[target].paged:
            self.check_at_once(info, f"{FORMATS[target].title} is written at once")

    def check_metadata(self, size: int) -> None:
        """Raise `ImageTooLarge` if `size` bytes of profiles, EXIF and text are over the limit."""
        if size > self.max_metadata_bytes:
            raise ImageTooLarge(
                f"The file's metadata takes {size:,} bytes; the limit is {self.max_metadata_bytes:,}. Strip it first."
            )
