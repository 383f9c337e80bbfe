"""What a header says about an image, the same few facts for every format."""

from __future__ import annotations

from dataclasses import dataclass

from images.formats import FORMATS

_ITEM_BYTES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float16": 2, "uint32": 4, "int32": 4, "float32": 4}


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image as its header announces it. `channels` counts colours, never alpha; `dtype` is a NumPy name.

    `bits` is the depth of one sample in the file (1-64); samples of 1-7 bits decode to uint8, 9-15 to uint16.
    """

    format: str
    width: int
    height: int
    channels: int
    dtype: str = "uint8"
    frames: int = 1
    has_alpha: bool = False
    bits: int = 8

    @property
    def media_type(self) -> str:
        return FORMATS[self.format].media_type

    @property
    def extension(self) -> str:
        return FORMATS[self.format].extension

    @property
    def result_format(self) -> str:
        """The format of the result, unless another is asked for: the own one, or one that can hold what came in."""
        deep = self.format == "avif" and self.dtype != "uint8"
        return "png" if deep else FORMATS[self.format].result

    @property
    def result_media_type(self) -> str:
        return FORMATS[self.result_format].media_type

    @property
    def paged(self) -> bool:
        """Whether frames are read one by one, so that no more than one stands in memory."""
        return self.frames == 1 or FORMATS[self.format].paged

    @property
    def pixels(self) -> int:
        """Pixels of all frames together."""
        return self.width * self.height * self.frames

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded samples, alpha included."""
        return self.pixels * (self.channels + self.has_alpha) * _ITEM_BYTES.get(self.dtype, 8)
