"""What a header says about an image, the same few facts for every format."""

from __future__ import annotations

from dataclasses import dataclass

MEDIA_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "avif": "image/avif",
    "heic": "image/heic",
    "dicom": "application/dicom",
    "fits": "image/fits",
    "npy": "application/x-npy",
    "dng": "image/x-adobe-dng",
    "raw": "image/x-dcraw",
}

EXTENSIONS = {
    "png": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "tiff": ".tif",
    "bmp": ".bmp",
    "gif": ".gif",
    "avif": ".avif",
    "heic": ".heic",
    "dicom": ".dcm",
    "fits": ".fits",
    "npy": ".npy",
    "dng": ".dng",
    "raw": ".raw",
}

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
        return MEDIA_TYPES[self.format]

    @property
    def extension(self) -> str:
        return EXTENSIONS[self.format]

    @property
    def pixels(self) -> int:
        """Pixels of all frames together."""
        return self.width * self.height * self.frames

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded samples, alpha included."""
        return self.pixels * (self.channels + self.has_alpha) * _ITEM_BYTES.get(self.dtype, 8)
