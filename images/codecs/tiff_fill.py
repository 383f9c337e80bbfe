"""New pixels in the old places of a TIFF: the file comes back as it was but for them, and a note."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from images.codecs import tiff_tags as tagging
from images.codecs.tiff_around import Surroundings, Table
from images.headers import tiff_directories as ifd
from images.headers.tiff_directories import Tiff
from images.limits import Limits
from images.source import Source

Array = NDArray[Any]
_END_OF_CLASSIC = 1 << 32


def fill(
    file: IO[bytes], pages: Iterable[Array], around: Surroundings, order: str, layout: dict[str, Any], big: bool
) -> None:
    """Write `around` and planes (H, W, S), or (S, H, W) where samples lie apart, into an empty file.

    A strip or tile that has grown, as compressed ones may, goes to the end of the file.
    """
    for offset, data in [(around["size"] - 1, b"\0"), *around["kept"]]:  # zeros are not kept, nor those at the end
        file.seek(offset)
        file.write(data)
    end = around["size"]
    for page, places, table in zip(pages, around["places"], around["tables"], strict=True):
        offsets, sizes = [], []
        for piece, (place, capacity) in zip(_pieces(page, places, order, layout), places, strict=True):
            offset = place
            if len(piece) > capacity:
                offset = end + end % 2
                end = offset + len(piece)
                if end >= _END_OF_CLASSIC and not big:
                    raise ValueError("a classic TIFF ends at 4 GB")
            file.seek(offset)
            file.write(piece)
            offsets.append(offset)
            sizes.append(len(piece))
        if layout["compression"] is not None and table is not None:
            _list(file, table, offsets, sizes, order)


def _list(file: IO[bytes], table: Table, offsets: list[int], sizes: list[int], order: str) -> None:
    """The directory's own lists of where strips or tiles lie."""
    for (kind, place), values in zip(table, (offsets, sizes), strict=True):
        file.seek(place)
        file.write(struct.pack(f"{order}{len(values)}{tagging.offset_code(kind)}", *values))


def _pieces(page: Array, places: tuple[tuple[int, int], ...], order: str, layout: dict[str, Any]) -> Iterator[bytes]:
    """The strips or tiles of a plane."""
    stored = np.ascontiguousarray(page, dtype=page.dtype.newbyteorder("<" if order == "<" else ">"))
    if layout["compression"] is None and not layout["tile"] and sum(size for _, size in places) == stored.nbytes:
        data, start = stored.reshape(-1).view(np.uint8), 0
        for _, capacity in places:
            yield data[start : start + capacity].tobytes()
            start += capacity
        return
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder="<" if order == "<" else ">") as writer:
        rows = layout["rows"] or page.shape[0 if page.ndim == 2 or not layout["separate"] else 1]
        writer.write(
            page, photometric="minisblack", metadata=None, software=False, **storage(page, layout | {"rows": rows})
        )
    written = Source(buffer.getvalue())
    tiff = Tiff(written, Limits(max_bytes=written.size))
    for offset, size in ifd.segments(tiff, tiff.page(tiff.first)):
        yield written.read(offset, size)


def storage(page: Array, layout: dict[str, Any]) -> dict[str, Any]:
    """tifffile's arguments for how samples are laid out and compressed, for a page as it is to be stored."""
    compression, separate = layout["compression"], layout["separate"]
    options: dict[str, Any] = {
        "compression": compression,
        "predictor": layout["predictor"] and compression in ("lzw", "zlib", "zstd", "lzma"),
        "tile": layout["tile"],
        "rowsperstrip": layout["rows"],
        "maxworkers": 1,
    }
    if compression == "zlib":
        options["compressionargs"] = {"level": 6}
    if page.ndim == 3:
        options["planarconfig"] = "separate" if separate else "contig"
    return options


def add_note(file: IO[bytes], order: str, big: bool, note: str, movable: bool) -> None:
    """The first directory once more at the end of the file, with the note; the old one stays where it was.

    Where programs count on fixed distances between directories and pixels, none is `movable`: the note ends the file.
    """
    if not movable:
        file.seek(0, io.SEEK_END)
        file.write(note.encode("ascii", "replace") + b"\0")
        return
    at, offset, count_code, width = (8, "Q", "Q", 20) if big else (4, "I", "H", 12)
    (first,) = _read(file, at, order + offset)
    (count,) = _read(file, first, order + count_code)
    start = first + struct.calcsize(count_code)
    file.seek(start)
    block = file.read(count * width)
    rest = file.read(struct.calcsize(offset))
    entries = [(_code(block[n * width :], order), block[n * width : (n + 1) * width]) for n in range(count)]
    texts = {code: _text(file, entry, order, big) for code, entry in entries if code in tagging.NOTED}
    code, text = tagging.note_field(lambda wanted: texts.get(wanted, b""), note)
    end = file.seek(0, io.SEEK_END)
    end += -end % 8
    place = end + len(text) + -len(text) % 8
    if place + len(block) >= _END_OF_CLASSIC and not big:
        return
    value = struct.pack(order + offset, end) if len(text) > struct.calcsize(offset) else text.ljust(width - 8, b"\0")
    mine = code, struct.pack(f"{order}HH{offset}", code, ifd.ASCII, len(text)) + value
    entries = sorted([entry for entry in entries if entry[0] != code] + [mine], key=lambda entry: entry[0])
    file.seek(end)
    file.write(text.ljust(place - end, b"\0"))
    file.write(struct.pack(order + count_code, len(entries)) + b"".join(entry for _, entry in entries) + rest)
    file.seek(at)
    file.write(struct.pack(order + offset, place))


def _read(file: IO[bytes], place: int, layout: str) -> tuple[Any, ...]:
    file.seek(place)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _code(entry: bytes, order: str) -> int:
    return int(struct.unpack_from(order + "H", entry)[0])


def _text(file: IO[bytes], entry: bytes, order: str, big: bool) -> bytes:
    """The value of a directory's entry of text."""
    _, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), entry)
    value = entry[12:] if big else entry[8:]
    if kind != ifd.ASCII or count <= len(value):
        return value[:count] if kind == ifd.ASCII else b""
    file.seek(struct.unpack(order + ("Q" if big else "I"), value)[0])
    return file.read(count)
