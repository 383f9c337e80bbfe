"""Pages that repeat an earlier one are counted unread, and none that differs passes for one."""

from __future__ import annotations

import io
import struct

import pytest
import tifffile

from images.errors import BrokenImage, ImageError, UnsupportedFormat
from images.headers import tiff as header
from images.headers.tiff_directories import Page, Tiff
from images.limits import Limits
from images.probe import probe
from images.source import Source
from tests.harness import files

STACKS = {
    "gray": {"pixels": files.noise((30, 20, 16), "uint16"), "photometric": "minisblack"},
    "rgb": {"pixels": files.noise((30, 20, 16, 3)), "photometric": "rgb"},
    "strips": {"pixels": files.noise((30, 64, 16)), "photometric": "minisblack", "rowsperstrip": 8},
    "tiles": {"pixels": files.noise((30, 33, 40)), "photometric": "minisblack", "tile": (16, 16)},
    "big": {"pixels": files.noise((30, 20, 16, 3)), "photometric": "rgb", "bigtiff": True},
    "motorola": {"pixels": files.noise((30, 20, 16, 3)), "photometric": "rgb", "byteorder": ">"},
    "packed": {"pixels": files.noise((30, 20, 16)), "photometric": "minisblack", "compression": "zlib"},
    "ome": {"pixels": files.noise((30, 20, 16)), "photometric": "minisblack", "ome": True},
    "dated": {"pixels": files.noise((30, 20, 16)), "photometric": "minisblack", "datetime": "2026:11:30 20:00:00"},
}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets of the pages that are read."""
    offsets: list[int] = []
    page = Tiff.page

    def noted(self: Tiff, offset: int) -> Page:
        offsets.append(offset)
        return page(self, offset)

    monkeypatch.setattr(Tiff, "page", noted)
    return offsets


@pytest.mark.parametrize("kind", STACKS)
def test_repetitions_are_counted_unread(kind: str, reads: list[int]) -> None:
    data = files.tiff(**STACKS[kind])
    assert probe(data).frames == 30
    assert len(reads) <= 4
    pages, _, _ = header.stack_pages(Tiff(Source(data), Limits()))
    assert len(pages) == 30


@pytest.mark.parametrize("kind", STACKS)
def test_any_change_to_a_page_is_judged_as_if_every_page_was_read(kind: str) -> None:
    """Each byte of a late page's directory, changed: what is refused and what is not stays the same."""
    good = files.tiff(**STACKS[kind])
    start = Tiff(Source(good), Limits())
    page = list(start.pages())[20]
    entry = 20 if start.big else 12
    for at in range(page.offset, page.offset + (8 if start.big else 2) + page.entries * entry):
        data = bytearray(good)
        data[at] ^= 0x41
        assert _by_pages(bytes(data)) == _by_probe(bytes(data)), at - page.offset


def _by_pages(data: bytes) -> tuple[type[ImageError] | None, int]:
    try:
        pages, _, _ = header.stack_pages(Tiff(Source(data), Limits()))
        return None, len(pages)
    except ImageError as error:
        return type(error), 0


def _by_probe(data: bytes) -> tuple[type[ImageError] | None, int]:
    try:
        return None, probe(data).frames
    except ImageError as error:
        return type(error), 0


def test_a_value_outside_of_the_directory_is_compared() -> None:
    """A colour page's three depths lie elsewhere: the directory's bytes alone say nothing about them."""
    data = bytearray(files.tiff(**STACKS["rgb"]))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages[20].tags["BitsPerSample"].valueoffset
        first = file.pages[0].tags["BitsPerSample"].valueoffset
    assert place != first
    struct.pack_into("<3H", data, place, 16, 16, 16)
    with pytest.raises(UnsupportedFormat, match="pages differ"):
        probe(bytes(data))


def test_pixels_that_are_missing_are_missed_on_any_page() -> None:
    good = files.tiff(files.noise((30, 20, 16)), photometric="minisblack", rowsperstrip=5)
    data = bytearray(good)
    with tifffile.TiffFile(io.BytesIO(good)) as file:
        place = file.pages[20].tags["StripOffsets"].valueoffset
    struct.pack_into("<I", data, place, len(data) - 2)
    with pytest.raises(BrokenImage, match="cut off"):
        probe(bytes(data))
