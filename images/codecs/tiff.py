"""TIFF, BigTIFF, OME-TIFF and ImageJ stacks, through tifffile and imagecodecs: every depth stays what it was.

Tags travel page by page as raw bytes, in the file's own byte order: OME-XML, ImageJ's hyperstack description and its
private tags, EXIF directories, profiles. Only tags that describe how pixels are laid out are written anew.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from images import exif as exif_block
from images import lzw
from images import note as notes
from images.codecs import tiff_tags as tagging
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, ImageError, UnsupportedFormat
from images.headers import jpeg as jpeg_header
from images.headers import tiff as header
from images.headers.tiff import Page, Shape, Tiff
from images.info import ImageInfo
from images.limits import Limits
from images.page_channels import page_channels
from images.samples import NoData, declared, flipped, flipped_range
from images.source import Source
from images.working_stack import Allocate, WorkingStack

Array = NDArray[Any]
_COMPRESSIONS = {1: None, 5: "lzw", 8: "zlib", 32946: "zlib", 32773: "packbits", 50000: "zstd", 34925: "lzma"}
_PREDICTABLE = {"lzw", "zlib", "zstd", "lzma"}
_WHITE_IS_ZERO, _PALETTE, _SEPARATED, _YCBCR = 0, 3, 5, 6
_OVER_4_GB = (1 << 32) - (1 << 25)
_PLANES = ("npy", "dng", "raw")  # whose channels are no colours that the file names
_LZW, _JPEG, _JPEG_START = 5, (6, 7), b"\xff\xd8"
_JPEG_SLACK = 1 << 16  # some writers pad strips to whole blocks


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """One page or a few (N, H, W, C); reduced copies and masks are left out, and it is said."""
    return decode_stack(source, info, limits, np.empty)


def decode_stack(source: Source, info: ImageInfo, limits: Limits, allocate: Allocate) -> Decoded:
    """All pages as one stack (N, H, W, C) in memory from `allocate`, read page by page."""
    tiff = Tiff(source, limits)
    pages, shape, skipped = header.stack_pages(tiff)
    skipped += sum(header.sub_images(page) for page in pages)
    bits, inverse = _significant_bits(shape), shape.photometric == _WHITE_IS_ZERO
    no_data = _no_data(tiff, pages[0], shape)
    text = tiff.raw(pages[0], header.DESCRIPTION)
    stack = WorkingStack(info.frames, allocate, no_data)
    try:
        for index, plane in enumerate(_planes(source, tiff, pages, shape, info)):
            colours = plane[..., : info.channels]
            alpha = plane[..., -1] if info.has_alpha else None
            stack.put(index, flipped(colours, bits) if inverse else colours, alpha)
    except ImageError:
        raise
    except Exception as error:
        raise BrokenImage("The TIFF file's image data is damaged, or compressed in a way that is not read.") from error
    return Decoded(
        pixels=stack.pixels,
        alpha=stack.alpha,
        info=replace(info, dtype=stack.dtype),
        metadata=_metadata(tiff, pages, shape, limits),
        warnings=stack.warnings + _remarks(tiff, pages[0], shape, skipped),
        denoised_before=notes.find(tiff.raw(pages[0], header.SOFTWARE), text),
        exact=stack.exact,
        page_channels=page_channels(text.decode("utf-8", "replace"), info.frames),
        significant_bits=bits,
        no_data=no_data,
    )


def _significant_bits(shape: Shape) -> int | None:
    """9 to 15 of 16 bits and the like; fewer than 8 are spread over 8."""
    dtype = np.dtype(shape.dtype)
    fewer = dtype.kind == "u" and shape.photometric != _PALETTE and 8 < shape.bits < 8 * dtype.itemsize
    return shape.bits if fewer else None


def _no_data(tiff: Tiff, page: Page, shape: Shape) -> NoData | None:
    """The value that GDAL's tag gives for pixels without data, as it stands once white is large."""
    text = tiff.raw(page, tagging.GDAL_NO_DATA)[:64].strip(b"\0 ").decode("latin-1")
    if not text or shape.photometric == _PALETTE or shape.bits < 8:  # of an index, or of bits that are spread
        return None
    try:
        value = float(text) if not text.lstrip("+-").isdigit() else int(text)
    except ValueError:
        return None
    dtype = np.dtype(shape.dtype)
    found = declared(dtype, value)
    return flipped_range(found, dtype, _significant_bits(shape)) if shape.photometric == _WHITE_IS_ZERO else found


def _remarks(tiff: Tiff, page: Page, shape: Shape, skipped: int) -> tuple[str, ...]:
    remarks = []
    if skipped:
        remarks.append(f"{skipped} reduced copies or masks inside the file were left out of the result.")
    if shape.photometric == _PALETTE:
        remarks.append("The image had a colour palette; the result is stored as RGB.")
    elif shape.bits < 8:
        remarks.append(f"The image had {shape.bits} bit a pixel; the result is stored with 8.")
    elif shape.bits not in (8, 16, 32, 64):
        remarks.append(f"The {shape.bits}-bit samples are stored in a wider type; their values mean the same.")
    if tiff.number(page, header.COMPRESSION, 1) not in _COMPRESSIONS:
        remarks.append("The TIFF's compression is not written here; the result is compressed without loss (deflate).")
    return tuple(remarks)


def _planes(source: Source, tiff: Tiff, pages: list[Page], shape: Shape, info: ImageInfo) -> Iterator[Array]:
    """(H, W, S) samples as stored, page after page, palettes looked up."""
    palette = None
    if shape.photometric == _PALETTE and shape.samples == 1:
        palette = _palette(np.array(tiff.values(pages[0], tagging.COLOR_MAP, (), 3 << 16), np.uint16))
    single = info.frames > 1 and len(pages) == 1
    for plane in _contiguous(source, tiff, pages[0], shape, info.frames) if single else _paged(source, tiff, pages):
        if palette is not None:
            yield _looked_up(plane, palette)
        elif plane.dtype == np.bool_:
            yield plane.astype(np.uint8) * np.uint8(255)
        elif shape.bits < 8:
            yield plane.astype(np.uint8) * np.uint8(255 // ((1 << shape.bits) - 1))
        else:
            yield plane


class _Stream(io.RawIOBase):
    """The source as a file object, so that a stack on disk is never read as a whole."""

    def __init__(self, source: Source) -> None:
        self._source, self._place = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._source.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._source.size - self._place))
        buffer[:size] = self._source.read(min(self._place, self._source.size - size), size)
        self._place += size
        return size


def _paged(source: Source, tiff: Tiff, pages: list[Page]) -> Iterator[Array]:
    """One directory after the other, each read at the offset that was checked."""
    with tifffile.TiffFile(io.BufferedReader(_Stream(source)), _multifile=False) as file:
        for index, page in enumerate(pages):
            compression = tiff.number(page, header.COMPRESSION, 1)
            if compression == _LZW:
                _check_lzw(source, tiff, page)
            elif compression in _JPEG:
                _check_jpeg(source, tiff, page)
            file.filehandle.seek(page.offset)
            yield _plane(tifffile.TiffPage(file, index=index))


def _check_lzw(source: Source, tiff: Tiff, page: Page) -> None:
    """Refuse streams that would lead the decoder astray."""
    for offset, size in header.segments(tiff, page):
        if size and not lzw.is_sound(source.read(offset, size)):
            raise BrokenImage("The TIFF file's image data is damaged: its LZW compression is broken.")


def _check_jpeg(source: Source, tiff: Tiff, page: Page) -> None:
    """Refuse strips and tiles whose own headers give a far larger size: they would be decoded to that, then cut."""
    width, height = tiff.number(page, header.WIDTH), tiff.number(page, header.LENGTH)
    rows = tiff.number(page, header.ROWS_PER_STRIP, height) or height
    room = width * min(rows, height)
    if header.TILE_WIDTH in page.tags:
        room = tiff.number(page, header.TILE_WIDTH) * tiff.number(page, header.TILE_LENGTH)
    for offset, size in header.segments(tiff, page):
        if size > 4 and source.read(offset, 2) == _JPEG_START:
            found = jpeg_header.frame_pixels(Source(source.read(offset, size)))
            if found > 2 * room + _JPEG_SLACK:
                raise BrokenImage(
                    "The TIFF file's JPEG data gives a far larger size than its page: it is built to do harm."
                )


def _plane(page: tifffile.TiffPage) -> Array:
    """One page as (H, W, S), whatever its planar configuration."""
    if page.shaped[1] != 1:
        raise UnsupportedFormat("This TIFF stores volumes inside a page, which is not read; save one slice a page.")
    data = np.asarray(page.asarray(maxworkers=1)).reshape(page.shaped)
    planes, _, height, width, chunky = data.shape
    return data.transpose(1, 2, 3, 0, 4).reshape(height, width, planes * chunky)


def _contiguous(source: Source, tiff: Tiff, page: Page, shape: Shape, frames: int) -> Iterator[Array]:
    """ImageJ's stacks over 4 GB: one directory, then all images back to back, uncompressed."""
    dtype = np.dtype(tiff.order + np.dtype(shape.dtype).str[1:])
    if tiff.number(page, header.COMPRESSION, 1) != 1 or shape.bits != dtype.itemsize * 8:
        raise UnsupportedFormat("This ImageJ stack is compressed in a way that is not read; save it uncompressed.")
    start = tiff.number(page, header.STRIP_OFFSETS)
    size = shape.width * shape.height * shape.samples * dtype.itemsize
    for index in range(frames):
        data = np.frombuffer(source.read(start + index * size, size), dtype)
        yield data.reshape(shape.height, shape.width, shape.samples)


def _palette(colours: Array) -> Array:
    """(entries, 3) colours; 8 bit where the palette's 16-bit entries are 8-bit ones scaled."""
    if colours.size % 3:
        raise BrokenImage("The TIFF file's colour palette is damaged.")
    table = colours.reshape(3, -1).T
    if np.array_equal(table, (table >> 8) * 257) or not (table & 0xFF).any():
        table = (table >> 8).astype(np.uint8)
    return table


def _looked_up(plane: Array, palette: Array) -> Array:
    """Palette indices (H, W, 1) to RGB."""
    if int(plane.max(initial=0)) >= len(palette):
        raise BrokenImage("The TIFF file's colour palette is too short for its image.")
    return np.take(palette, plane[..., 0].astype(np.intp), axis=0)


# ---- metadata --------------------------------------------------------------------------------------------------------


def _metadata(tiff: Tiff, pages: list[Page], shape: Shape, limits: Limits) -> Metadata:
    first = pages[0]
    orientation = tiff.number(first, header.ORIENTATION, 1)
    native: dict[str, Any] = {
        "order": tiff.order,
        "big": tiff.big,
        "pages": [tagging.copied_tags(tiff, page) for page in pages],
        "directories": [tagging.sub_directories(tiff, page) for page in pages],
        "size": (shape.width, shape.height),
        "resolutions": [_resolution(tiff, page) for page in pages],
        "layout": _layout(tiff, first, shape),
    }
    x, y, unit = native["resolutions"][0] or ((0, 1), (0, 1), 1)
    scale = {2: 1.0, 3: 2.54}.get(unit, 0.0)
    dpi = (scale * x[0] / x[1], scale * y[0] / y[1]) if scale and x[0] and y[0] and x[1] and y[1] else None
    exif = exif_block.only_orientation(b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0))
    return Metadata(
        exif=exif, icc=tiff.raw(first, tagging.ICC), xmp=tiff.raw(first, tagging.XMP), dpi=dpi, native=native
    )


def _layout(tiff: Tiff, page: Page, shape: Shape) -> dict[str, Any]:
    """How the result is to be laid out: as the input was, as far as that is lossless."""
    code = tiff.number(page, header.COMPRESSION, 1)
    tile = None
    if header.TILE_WIDTH in page.tags:
        sides = tiff.number(page, header.TILE_LENGTH), tiff.number(page, header.TILE_WIDTH)
        tile = sides if all(side % 16 == 0 for side in sides) else None
    photometric = {_PALETTE: 2, _YCBCR: 2}.get(shape.photometric, shape.photometric)
    return {
        "compression": _COMPRESSIONS.get(code, "zlib"),
        "predictor": tiff.number(page, tagging.PREDICTOR, 1) != 1,
        "tile": tile,
        "rows": None if tile else tiff.number(page, header.ROWS_PER_STRIP, 0) or None,
        "separate": tiff.number(page, header.PLANAR, 1) == 2 and shape.samples > 1,
        "photometric": photometric,
        "extra": tiff.values(page, header.EXTRA_SAMPLES, ()),
        "alpha": header.alpha_samples(tiff, page, shape),
        "bits": shape.bits,
        "significant": _significant_bits(shape),
    }


def _resolution(tiff: Tiff, page: Page) -> tuple[tuple[int, int], tuple[int, int], int] | None:
    x, y = tiff.values(page, tagging.X_RESOLUTION), tiff.values(page, tagging.Y_RESOLUTION)
    if len(x) != 2 or len(y) != 2:
        return None
    return (x[0], x[1]), (y[0], y[1]), tiff.number(page, tagging.RESOLUTION_UNIT, 2)


# ---- encoding --------------------------------------------------------------------------------------------------------


def write(
    file: IO[bytes], pages: Iterable[Array], size: int, metadata: Metadata, info: ImageInfo, note: str | None
) -> None:
    """Pages (H, W, S) of any sample type tifffile writes, into an open TIFF file; `size` is that of all samples."""
    own = info.format == "tiff" and "pages" in metadata.native
    native = metadata.native if own else _foreign(metadata, info)
    if native.get("safe"):
        native = native | {
            "directories": [{c: t for c, t in d.items() if c != tagging.GPS_IFD} for d in native["directories"]]
        }
        native["pages"] = [[tag for tag in tags if tag[0] != tagging.XMP or metadata.xmp] for tags in native["pages"]]
    if native.get("size", (info.width, info.height)) != (info.width, info.height):
        native = native | {"pages": [tagging.resized(tags, info.width, info.height) for tags in native["pages"]]}
    layout = native["layout"]
    with tifffile.TiffWriter(
        _Nameless(file), bigtiff=native["big"] or size > _OVER_4_GB, byteorder=native["order"]
    ) as writer:
        for index, page in enumerate(pages):
            if layout["photometric"] == _WHITE_IS_ZERO:
                colours = page.shape[2] - layout["alpha"]
                light = flipped(page[..., :colours], layout["significant"])
                page = np.concatenate([light, page[..., colours:]], axis=2)
            writer.write(_arranged(page, layout), **_options(native, layout, page, index, note))
    tagging.add_directories(file, native["directories"])
    file.seek(0, io.SEEK_END)


class _Nameless:
    """A file without its name: an unlinked file's is a number, on which tifffile stumbles."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        if name == "name":
            raise AttributeError(name)
        return getattr(self._file, name)


def _arranged(page: Array, layout: dict[str, Any]) -> Array:
    if page.shape[2] == 1:
        return np.ascontiguousarray(page[:, :, 0])
    return np.ascontiguousarray(np.moveaxis(page, 2, 0) if layout["separate"] else page)


def _options(
    native: dict[str, Any], layout: dict[str, Any], page: Array, index: int, note: str | None
) -> dict[str, Any]:
    """tifffile's arguments for one page."""
    compression = layout["compression"]
    samples = page.shape[2]
    base = {0: 1, 1: 1, 2: 3, 5: 4, 8: 3}.get(layout["photometric"], 1)
    extra = (*layout["extra"], *(0 for _ in range(samples)))[: max(samples - base, 0)]
    options: dict[str, Any] = {
        "photometric": layout["photometric"] if samples >= base else 1,
        "metadata": None,
        "software": False,
        "compression": compression,
        "predictor": layout["predictor"] and compression in _PREDICTABLE,
        "tile": layout["tile"],
        "rowsperstrip": layout["rows"],
        "extrasamples": extra if samples > base else None,
        "maxworkers": 1,
    }
    if compression == "zlib":
        options["compressionargs"] = {"level": 6}
    if samples > 1:
        options["planarconfig"] = "separate" if layout["separate"] else "contig"
    resolution = native["resolutions"][index] if index < len(native["resolutions"]) else None
    if resolution:
        options |= {"resolution": resolution[:2], "resolutionunit": resolution[2]}
    tags = native["pages"][index] if index < len(native["pages"]) else []
    directories = native["directories"][index] if index < len(native["directories"]) else {}
    extratags: list[tuple[Any, ...]] = [tagging.extratag(tag, native["order"]) for tag in tagging.noted(tags, note)]
    # Named, not numbered: tifffile drops these codes as numbers. The value is patched once the directory has a place.
    extratags += [(tagging.DIRECTORIES[code], 4, 1, 0, False) for code in directories]
    if layout["bits"] not in (8, 16, 32, 64) and layout["bits"] > 8:
        extratags.append((tagging.MAX_SAMPLE, 3, samples, ((1 << layout["bits"]) - 1,) * samples, False))
    return options | {"extratags": extratags}


def _foreign(metadata: Metadata, info: ImageInfo) -> dict[str, Any]:
    """Tags and layout for an image that came from another format."""
    order = ">" if metadata.exif.startswith(b"MM") else "<"  # of the EXIF values, which are copied as bytes
    tags = [(tagging.ICC, 7, metadata.icc)] if metadata.icc else []
    tags += [(tagging.XMP, 1, metadata.xmp)] if metadata.xmp else []
    if (orientation := exif_block.orientation(metadata.exif)) != 1:
        tags.append((header.ORIENTATION, 3, struct.pack(order + "H", orientation)))
    dpi = metadata.dpi
    resolution = ((round(dpi[0] * 1000), 1000), (round(dpi[1] * 1000), 1000), 2) if dpi else None
    layout = {
        "compression": "zlib",
        "predictor": True,
        "tile": None,
        "rows": None,
        "separate": False,
        "photometric": 1 if info.format in _PLANES else {3: 2, 4: _SEPARATED}.get(info.channels, 1),
        "extra": (2,) if info.has_alpha else (),
        "alpha": int(info.has_alpha),
        "bits": 8 * np.dtype(info.dtype).itemsize,
        "significant": None,
    }
    directories = tagging.exif_directories(metadata.exif)
    return {
        "order": order,
        "big": False,
        "pages": [tags],
        "directories": [directories],
        "resolutions": [resolution] * info.frames,
        "layout": layout,
    }
