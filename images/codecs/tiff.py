"""TIFF, BigTIFF, OME-TIFF and ImageJ stacks, through tifffile and imagecodecs: every depth stays what it was.

Tags travel page by page as raw bytes, in the file's own byte order: OME-XML, ImageJ's hyperstack description and its
private tags, EXIF directories, profiles. Only tags that describe how pixels are laid out are written anew.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from typing import IO, Any, TypeVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from images import exif as exif_block
from images import note as notes
from images.codecs import tiff_tags as tagging
from images.codecs.tiff_around import LOST, Surroundings, remarks, surroundings
from images.codecs.tiff_channels import channels_of, series_of
from images.codecs.tiff_fill import add_note, fill, storage
from images.codecs.tiff_planes import planes
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, ImageError
from images.headers import tiff as header
from images.headers import tiff_directories as ifd
from images.headers.tiff_directories import Page, Shape, Tiff
from images.headers.tiff_stacks import missing_planes, plane_counts
from images.info import ImageInfo
from images.limits import Limits
from images.samples import NoData, declared, flipped, flipped_range
from images.source import Source
from images.working_stack import Allocate, WorkingStack

Array = NDArray[Any]
Item = TypeVar("Item")
_COMPRESSIONS = {1: None, 5: "lzw", 8: "zlib", 32946: "zlib", 32773: "packbits", 50000: "zstd", 34925: "lzma"}
_NOTE_BYTES, _COMPANION = 256, 4096
_UNITS = (1, 2, 3)  # none, inch, centimetre
_WHITE_IS_ZERO, _PALETTE, _SEPARATED, _YCBCR = 0, 3, 5, 6
_OVER_4_GB = (1 << 32) - (1 << 25)
_PLANES = ("npy", "dng", "raw")  # whose channels are no colours that the file names


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """One page or a few (N, H, W, C); reduced copies and masks are left out, and it is said."""
    return decode_stack(source, info, limits, np.empty)


def decode_stack(source: Source, info: ImageInfo, limits: Limits, allocate: Allocate) -> Decoded:
    """All planes as one stack (N, H, W, C) in memory from `allocate`, read one by one."""
    tiff = Tiff(source, limits)
    pages, shape, skipped = header.stack_pages(tiff)
    skipped += sum(header.sub_images(page) for page in pages)
    counts = plane_counts(tiff, pages, shape)
    around = surroundings(tiff, pages, counts, shape, skipped, limits)
    bits, inverse = _significant_bits(shape), shape.photometric == _WHITE_IS_ZERO
    no_data = _no_data(tiff, pages[0], shape)
    text = tiff.raw(pages[0], ifd.DESCRIPTION)
    stack = WorkingStack(info.frames, allocate, no_data)
    try:
        for index, plane in enumerate(planes(source, tiff, pages, shape, counts)):
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
        metadata=_metadata(tiff, pages, counts, shape, around),
        warnings=stack.warnings + remarks(around, skipped) + _remarks(tiff, pages, shape, info),
        denoised_before=notes.find(*(tiff.raw(pages[0], code) for code in tagging.NOTED), text, _end(source)),
        exact=stack.exact,
        page_channels=channels_of(tiff, pages, info.frames, text.decode("utf-8", "replace")),
        page_series=series_of(tiff, pages, info.frames, text.decode("utf-8", "replace")),
        significant_bits=bits,
        no_data=no_data,
    )


def _end(source: Source) -> bytes:
    """The last bytes, where the note stands if no directory may move."""
    size = min(_NOTE_BYTES, source.size)
    return source.read(source.size - size, size)


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


def _full_size(tiff: Tiff, page: Page, shape: Shape) -> int:
    """Sub-directories that are no reduced copy of their page: images that a program keeps there."""
    count = 0
    for offset in tiff.values(page, ifd.SUB_IFDS):
        with contextlib.suppress(BrokenImage):
            found = tiff.page(offset)
            size = tiff.number(found, ifd.WIDTH), tiff.number(found, ifd.LENGTH)
            count += size == (shape.width, shape.height) and not tiff.number(found, ifd.SUBFILE) & 0b101
    return count


def _remarks(tiff: Tiff, pages: list[Page], shape: Shape, info: ImageInfo) -> tuple[str, ...]:
    page, remarks = pages[0], []
    if full := _full_size(tiff, page, shape):
        remarks.append(f"{full} images of full size in sub-directories are not in the result; send them as pages.")
    if info.frames > 1 and b"<BinaryOnly" in tiff.raw(page, ifd.DESCRIPTION)[:_COMPANION]:
        remarks.append("The order of the planes stands in a companion file, so channels are not told apart.")
    if missing := missing_planes(tiff, pages, shape):
        remarks.append(f"The file's description speaks of {missing + 1:,} planes; the file holds one.")
    if shape.photometric == _PALETTE:
        remarks.append("The image had a colour palette; the result is stored as RGB.")
    elif shape.bits < 8:
        remarks.append(f"The image had {shape.bits} bit a pixel; the result is stored with 8.")
    elif shape.bits not in (8, 16, 32, 64):
        remarks.append(f"The {shape.bits}-bit samples are stored in a wider type; their values mean the same.")
    if tiff.number(page, ifd.COMPRESSION, 1) not in _COMPRESSIONS:
        remarks.append("The TIFF's compression is not written here; the result is compressed without loss (deflate).")
    return tuple(remarks)


# ---- metadata --------------------------------------------------------------------------------------------------------


def _metadata(tiff: Tiff, pages: list[Page], counts: list[int], shape: Shape, around: Surroundings | None) -> Metadata:
    first = pages[0]
    orientation = tiff.number(first, ifd.ORIENTATION, 1)
    behind = [count - 1 for count in counts]  # planes that become pages with no tags of their own
    native: dict[str, Any] = {
        "order": tiff.order,
        "big": tiff.big,
        "pages": _spread([tagging.copied_tags(tiff, page) for page in pages], behind, lambda _: []),
        "directories": _spread([tagging.sub_directories(tiff, page) for page in pages], behind, lambda _: {}),
        "size": (shape.width, shape.height),
        "dtype": shape.dtype,
        "resolutions": _spread([_resolution(tiff, page) for page in pages], behind, lambda own: own),
        "layout": _layout(tiff, first, shape),
        "around": around,
    }
    x, y, unit = native["resolutions"][0] or ((0, 1), (0, 1), 1)
    scale = {2: 1.0, 3: 2.54}.get(unit, 0.0)
    dpi = (scale * x[0] / x[1], scale * y[0] / y[1]) if scale and x[0] and y[0] and x[1] and y[1] else None
    exif = exif_block.only_orientation(b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0))
    return Metadata(
        exif=exif, icc=tiff.raw(first, tagging.ICC), xmp=tiff.raw(first, tagging.XMP), dpi=dpi, native=native
    )


def _spread(of_pages: list[Item], behind: list[int], more: Callable[[Item], Item]) -> list[Item]:
    """What belongs to directories, plane by plane: `more` gives it for those behind a directory's own."""
    return [
        item if index == 0 else more(item)
        for item, count in zip(of_pages, behind, strict=True)
        for index in range(count + 1)
    ]


def _layout(tiff: Tiff, page: Page, shape: Shape) -> dict[str, Any]:
    """How the result is to be laid out: as the input was, as far as that is lossless."""
    code = tiff.number(page, ifd.COMPRESSION, 1)
    tile = None
    if ifd.TILE_WIDTH in page.tags:
        sides = tiff.number(page, ifd.TILE_LENGTH), tiff.number(page, ifd.TILE_WIDTH)
        tile = sides if all(side % 16 == 0 for side in sides) else None
    photometric = {_PALETTE: 2, _YCBCR: 2}.get(shape.photometric, shape.photometric)
    return {
        "compression": _COMPRESSIONS.get(code, "zlib"),
        "predictor": tiff.number(page, tagging.PREDICTOR, 1) != 1,
        "tile": tile,
        "rows": None if tile else tiff.number(page, ifd.ROWS_PER_STRIP, 0) or None,
        "separate": tiff.number(page, ifd.PLANAR, 1) == 2 and shape.samples > 1,
        "photometric": photometric,
        "extra": tiff.values(page, ifd.EXTRA_SAMPLES, ()),
        "alpha": header.alpha_samples(tiff, page, shape),
        "bits": shape.bits,
        "significant": _significant_bits(shape),
    }


def _resolution(tiff: Tiff, page: Page) -> tuple[tuple[int, int], tuple[int, int], int] | None:
    x, y = tiff.values(page, tagging.X_RESOLUTION), tiff.values(page, tagging.Y_RESOLUTION)
    if len(x) != 2 or len(y) != 2 or not x[1] or not y[1]:
        return None
    unit = tiff.number(page, tagging.RESOLUTION_UNIT, 2)
    return (x[0], x[1]), (y[0], y[1]), unit if unit in _UNITS else 1


# ---- encoding --------------------------------------------------------------------------------------------------------


def write(
    file: IO[bytes], pages: Iterable[Array], size: int, metadata: Metadata, info: ImageInfo, note: str | None
) -> None:
    """Pages (H, W, S) of any sample type tifffile writes, into an open TIFF file; `size` is that of all samples."""
    own = info.format == "tiff" and "pages" in metadata.native
    native = metadata.native if own else _foreign(metadata, info)
    coming = iter(pages)
    first = next(coming)
    if own and info.dtype == "float32" and native["dtype"] != info.dtype:
        native = _as_floats(native)
    stored = (_arranged(page, native["layout"]) for page in chain([first], coming))
    if _comes_back_whole(metadata, info, first):
        fill(file, stored, native["around"], native["order"], native["layout"], native["big"])
        if note:
            add_note(file, native["order"], native["big"], note, not native["around"]["fixed"])
        return
    if native.get("safe"):
        native = native | {
            "directories": [{c: t for c, t in d.items() if c != tagging.GPS_IFD} for d in native["directories"]]
        }
        native["pages"] = [[tag for tag in tags if tag[0] != tagging.XMP or metadata.xmp] for tags in native["pages"]]
    alone = bool(native.get("around") and native["around"]["fixed"])
    native = native | {"pages": [tagging.listed(tags, alone) for tags in native["pages"]]}
    if native.get("size", (info.width, info.height)) != (info.width, info.height):
        native = native | {"pages": [tagging.resized(tags, info.width, info.height) for tags in native["pages"]]}
    with tifffile.TiffWriter(
        _Nameless(file), bigtiff=native["big"] or size > _OVER_4_GB, byteorder=native["order"]
    ) as writer:
        for index, page in enumerate(stored):
            writer.write(page, **_options(native, page, first.shape[2], index, note))
    tagging.add_directories(file, native["directories"])
    file.seek(0, io.SEEK_END)


def _as_floats(native: dict[str, Any]) -> dict[str, Any]:
    """The layout and the tags of samples that are float32 now; large is light, for no type has a largest float."""
    layout = native["layout"]
    light = 1 if layout["photometric"] == _WHITE_IS_ZERO else layout["photometric"]
    return native | {
        "layout": layout | {"bits": 32, "significant": None, "photometric": light},
        "pages": [tagging.as_floats(tags) for tags in native["pages"]],
    }


def _comes_back_whole(metadata: Metadata, info: ImageInfo, page: Array) -> bool:
    """Whether the file has structure of its own around its pixels that can be, and may be, given back as it was."""
    return keeps_surroundings(metadata, info) and page.dtype.name == metadata.native["dtype"]


def keeps_surroundings(metadata: Metadata, info: ImageInfo) -> bool:
    """The same, known before the work: not of a crop, and not where private metadata is to go and may be anywhere."""
    native = metadata.native
    around = native.get("around") if info.format == "tiff" else None
    if not around or not around["kept"]:
        return False
    places = any(tagging.GPS_IFD in directories for directories in native["directories"]) or b"GPS" in metadata.xmp
    private = native.get("safe") and (places or around["owner"] is None)
    return not private and native["size"] == (info.width, info.height)


def lost(before: Metadata, after: Metadata, info: ImageInfo, target: str) -> tuple[str, ...]:
    """What to say of structure that a file had with metadata `before` and its result, with `after`, has not."""
    around = before.native.get("around")
    if not around or not around["kept"] or (target == "tiff" and keeps_surroundings(after, info)):
        return ()
    what = around["owner"] or ("bytes that belong to no page" if around["stray"] else "")
    return (f"{LOST} {what}.",) if what else ()


class _Nameless:
    """A file without its name: an unlinked file's is a number, on which tifffile stumbles."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        if name == "name":
            raise AttributeError(name)
        return getattr(self._file, name)


def _arranged(page: Array, layout: dict[str, Any]) -> Array:
    """A page (H, W, S) as it is stored: (H, W) or (S, H, W), light and dark exchanged where white is zero."""
    if layout["photometric"] == _WHITE_IS_ZERO:
        colours = page.shape[2] - layout["alpha"]
        light = flipped(page[..., :colours], layout["significant"])
        page = np.concatenate([light, page[..., colours:]], axis=2)
    if page.shape[2] == 1:
        return np.ascontiguousarray(page[:, :, 0])
    return np.ascontiguousarray(np.moveaxis(page, 2, 0) if layout["separate"] else page)


def _options(native: dict[str, Any], page: Array, samples: int, index: int, note: str | None) -> dict[str, Any]:
    """tifffile's arguments for one page as it is stored."""
    layout = native["layout"]
    base = {0: 1, 1: 1, 2: 3, 5: 4, 8: 3}.get(layout["photometric"], 1)
    extra = (*layout["extra"], *(0 for _ in range(samples)))[: max(samples - base, 0)]
    options: dict[str, Any] = storage(page, layout) | {
        "photometric": layout["photometric"] if samples >= base else 1,
        "metadata": None,
        "software": False,
        "extrasamples": extra if samples > base else None,
    }
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
        tags.append((ifd.ORIENTATION, 3, struct.pack(order + "H", orientation)))
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
