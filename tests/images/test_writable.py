"""What the header tells of a wish is what the writer says of it: nothing is worked on that cannot be written."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from images.crop import crop
from images.decode import decode_here
from images.encode import encode
from images.errors import UnsupportedFormat
from images.info import ImageInfo
from images.probe import probe, require_writable
from store.options import Roi
from tests.harness import files

UPLOADS = {
    "png": files.png(files.noise((12, 16, 1))),
    "png 16 bit": files.png(files.noise((12, 16, 3), "uint16")),
    "png with alpha": files.png(files.noise((12, 16, 4))),
    "jpeg": files.pillow(files.smooth(), "JPEG"),
    "webp": files.pillow(files.smooth(channels=4), "WEBP"),
    "avif": files.pillow(files.smooth(), "AVIF"),
    "bmp": files.pillow(files.smooth(), "BMP"),
    "gif": files.pillow(files.smooth(), "GIF"),
    "tiff": files.tiff(files.noise((12, 16, 3)), photometric="rgb"),
    "tiff of floats": files.tiff(files.noise((12, 16), "float32")),
    "tiff of pages": files.tiff(files.noise((3, 12, 16)), photometric="minisblack"),
    "tiff of two channels": files.tiff(files.noise((12, 16, 2)), photometric="minisblack", planarconfig="contig"),
    "npy": files.npy(files.noise((12, 16), "int16")),
    "fits": files.fits(files.noise((12, 16), "int16")),
    "unsigned fits": files.fits(files.noise((12, 16), "int16"), "BZERO   = 32768"),
    "dicom": files.dicom(files.noise((12, 16), "uint16")),
    "dicom of frames": files.dicom(files.noise((2, 12, 16))),
    "dng": files.dng(files.noise((32, 48), "uint16")),
    "camera raw": files.camera_raw(256 + files.noise((64, 96), "uint16") % 3000),
}


@pytest.mark.parametrize("name", UPLOADS)
@pytest.mark.parametrize("roi", [None, Roi(2, 4, 6, 6)])
def test_the_header_says_what_the_writer_says(name: str, roi: Roi | None) -> None:
    data = UPLOADS[name]
    info, decoded = probe(data), decode_here(data)
    decoded = crop(decoded, *astuple(roi)) if roi else decoded
    for target in (None, "png", "jpeg", "webp", "tiff"):
        for metadata in ("keep", "safe", "none"):
            told = refusal(require_writable, info, target, metadata, roi is not None)
            assert told == refusal(encode, decoded, decoded.pixels, target, metadata), (target, metadata)


def refusal(call: Any, *arguments: Any) -> str:
    try:
        call(*arguments)
    except UnsupportedFormat as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("info", "wish", "remedy"),
    [
        (ImageInfo("dng", 8, 8, 1, "uint16"), {"output_format": "jpeg"}, "choose tiff"),
        (ImageInfo("fits", 8, 8, 1, "int16"), {"output_format": "png"}, "choose tiff"),
        (ImageInfo("fits", 8, 8, 1, "int16"), {"metadata": "none"}, "output_format=tiff"),
        (ImageInfo("fits", 8, 8, 1, "int16"), {"cropped": True}, "choose tiff"),
        (ImageInfo("png", 8, 8, 3, has_alpha=True), {"output_format": "jpeg"}, "choose png"),
        (ImageInfo("tiff", 8, 8, 3, frames=2), {"output_format": "jpeg"}, "holds one image"),
        (ImageInfo("png", 8, 8, 3), {"output_format": "gif"}, "choose one of png"),
    ],
)
def test_a_refusal_says_what_to_choose(info: ImageInfo, wish: dict[str, Any], remedy: str) -> None:
    with pytest.raises(UnsupportedFormat, match=remedy):
        require_writable(info, **wish)


def test_a_written_mosaic_is_one_channel() -> None:
    decoded = decode_here(UPLOADS["dng"])
    assert decode_here(encode(decoded, decoded.pixels, "tiff").data, mosaic="none").pixels.shape == (1, 32, 48, 1)
    assert np.shape(decoded.pixels) == (1, 16, 24, 4)
