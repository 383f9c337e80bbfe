"""The table of formats: every row is read and written by modules of its name, and every text lists the same ones."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from images.decode import decode_here
from images.encode import encode
from images.errors import UnsupportedFormat
from images.formats import FORMATS, READ_FORMATS, Format, header_of
from images.info import ImageInfo
from service.app import create_app
from store.settings import Settings
from tests.harness import files

ROOT = Path(__file__).resolve().parents[2]
ROWS = pytest.mark.parametrize("row", FORMATS.values(), ids=list(FORMATS))
HEADS = {
    "png": files.png(files.noise((2, 2, 1))),
    "jpeg": files.pillow(files.smooth(), "JPEG"),
    "webp": files.pillow(files.smooth(), "WEBP"),
    "tiff": files.tiff(files.noise((2, 2))),
    "bmp": files.pillow(files.smooth(), "BMP"),
    "gif": files.pillow(files.smooth(), "GIF"),
    "avif": files.pillow(files.smooth(), "AVIF"),
    "dicom": b"II*\0" + bytes(124) + b"DICM",
    "fits": files.fits(files.noise((2, 2))),
    "npy": files.npy(files.noise((2, 2))),
    "dng": files.dng(files.noise((8, 8), "uint16")),
    "raw": b"II*\0\x10\0\0\0CR\x02\0",
}


@ROWS
def test_a_row_has_its_modules_and_its_result_can_be_written(row: Format) -> None:
    assert find_spec(f"images.headers.{row.header}") and find_spec(f"images.codecs.{row.name}")
    assert FORMATS[row.result].dtypes and bool(row.dtypes) == bool(row.channels) == (row.result == row.name)


@pytest.mark.parametrize("name", HEADS)
def test_one_header_parser_alone_takes_a_file(name: str) -> None:
    head = HEADS[name][:132].ljust(132, b"\0")
    assert {row.header for row in FORMATS.values() if re.match(row.magic, head, re.DOTALL)} == {FORMATS[name].header}
    assert header_of(b"\0" + head) is None


def test_every_text_lists_the_formats_of_the_table() -> None:
    listed = READ_FORMATS.replace(" or ", " and ")
    assert listed in (ROOT / "README.md").read_text()
    assert READ_FORMATS in (ROOT / "service" / "web" / "index.html").read_text()
    document = create_app(Settings()).openapi()
    body = document["paths"]["/denoise"]["post"]["requestBody"]["content"]
    assert READ_FORMATS in body["multipart/form-data"]["schema"]["properties"]["image"]["description"]
    assert body.keys() == {"multipart/form-data", "application/octet-stream"}  # what raw bytes are, the server finds
    results = document["paths"]["/jobs/{job_id}/result"]["get"]["responses"]["200"]["content"]
    assert {row.media_type for row in FORMATS.values() if row.dtypes} < results.keys()
    table = (ROOT / "docs" / "formats.md").read_text()
    assert {row.title for row in FORMATS.values() if row.name != "raw"} <= set(re.findall(r"^\| (\w+)", table, re.M))


@pytest.mark.parametrize(
    ("info", "result"),
    [
        (ImageInfo("avif", 1, 1, 3), "image/avif"),
        (ImageInfo("avif", 1, 1, 3, "uint16", bits=10), "image/png"),
        (ImageInfo("gif", 1, 1, 3), "image/png"),
        (ImageInfo("raw", 1, 1, 1, "uint16", bits=14), "image/x-adobe-dng"),
    ],
)
def test_the_result_s_type_is_known_before_the_work(info: ImageInfo, result: str) -> None:
    assert info.result_media_type == result


@pytest.mark.parametrize(("channels", "target"), [(2, "png"), (4, "png"), (2, "webp"), (4, "bmp"), (2, "jpeg")])
def test_channels_do_not_become_transparency(channels: int, target: str) -> None:
    decoded = decode_here(files.npy(files.noise((8, 8, channels))))
    assert decoded.info.channels == channels
    with pytest.raises(UnsupportedFormat, match=f"cannot hold {channels} channels"):
        encode(decoded, decoded.pixels, target)
    assert np.array_equal(decode_here(encode(decoded, decoded.pixels).data).pixels, decoded.pixels)
