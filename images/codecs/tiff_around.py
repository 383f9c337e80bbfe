"""What a TIFF holds around its pixels, for programs that keep planes, tables or settings outside the directories.

MetaMorph, Zeiss LSM, Micro-Manager, ScanImage and others point from tags, or from the header, to places in the file.
Such a file comes back byte for byte, with new pixels in the old places; nothing in it has to be understood for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from images.codecs import tiff_tags as tagging
from images.errors import BrokenImage
from images.headers import tiff_directories as ifd
from images.headers.tiff_directories import Page, Shape, Tiff
from images.headers.tiff_stacks import plane_bytes
from images.limits import MIB, Limits

Span = tuple[int, int]  # start, end
Places = tuple[tuple[int, int], ...]
Table = tuple[tuple[int, int], tuple[int, int]]
LOST = "The result has the planes, but not what the file keeps outside its directories:"
_PROGRAMS = {33629: "MetaMorph", ifd.LSM_INFO: "Zeiss LSM", 33560: "Olympus SIS", 34361: "FluoView"}
_MICROMANAGER_HEADERS = {54773648: (3453623, 20), 483765892: (347834724, 1), 99384722: (84720485, 1)}
_SUMMARY, _NDTIFF, _SCANIMAGE = 2355492, 483729, 0x07030301
_LEFT_OVER, _SMALL = 64, 1024  # bytes that no page lists: tables that writers made and left, or worth no remark
_COMPRESSIONS = {1, 5, 8, 32946, 32773, 50000, 34925}  # written again so that the old directory still tells the truth
_WIDE = {ifd.LONG, ifd.LONG8, ifd.IFD8}
_MAX_DIRECTORIES, _MAX_PLACES = 20_000, 1_000_000
_CHANGED, _NEARLY_4_GB = (3, 6), 3 << 30  # palettes and YCbCr come back as RGB
_TILING = (ifd.PLANAR, ifd.ROWS_PER_STRIP, ifd.TILE_WIDTH, ifd.TILE_LENGTH)
_FILL_ORDER, _GLOBAL_IFD, _JPEG_AT, _JPEG_SIZE = 266, 400, 513, 514


class Surroundings(TypedDict):
    """Structure outside the directories, and how the file is to be filled again; plain values, to be sent."""

    owner: str | None
    """Whose it is, in words; None: nobody knows."""
    fixed: bool
    """Whether readers compute the places of pixels and directories instead of following the chain."""
    size: int
    kept: list[tuple[int, bytes]]
    """(offset, bytes) of everything that is no pixel; empty if the file cannot be filled again."""
    places: list[Places]
    """Of each plane, (offset, capacity) of its strips or tiles."""
    tables: list[Table | None]
    """Of each plane with a directory, (type, place) of the lists of those offsets and sizes."""
    stray: int
    """Bytes that belong to no page and no structure that is known, if they may be a plane, or do not come back."""


def surroundings(
    tiff: Tiff, pages: list[Page], counts: list[int], shape: Shape, skipped: int, limits: Limits
) -> Surroundings | None:
    """What lies outside the directories; None if nothing does.

    Args:
        pages: the directories that are pages, each for as many planes as `counts` says.
        skipped: how many reduced copies or masks the file holds beside them.
    """
    owner, fixed = _owner(tiff, pages[0])
    places = list(_places(tiff, pages, counts, shape))
    pixels = _merged([(start, start + size) for plane in places for start, size in plane])
    structure = _merged([*_listed(tiff, {page.offset for page in pages}), *_blocks(tiff)])
    listed = _merged([*pixels, *structure])
    stray = [end - start for gap in _gaps(listed, tiff.source.size) for start, end in _filled(tiff, gap)]
    stray = [size for size in stray if size >= _LEFT_OVER]
    if owner is None and not fixed and max(counts) == 1 and not stray:
        return None
    # A viewer would show the old pixels of reduced copies: those stay where a program counts on them only.
    apart = sum(size for plane in places for _, size in plane) + _length(structure) == _length(listed)
    fits = apart and (owner is not None or not skipped) and _can_be_filled(tiff, pages, counts, shape)
    kept = _kept(tiff, pixels, limits) if fits else []
    plane = min(sum(size for _, size in plane) for plane in places)
    most = max(_SMALL, plane // 2 if kept else tiff.source.size // 100)
    return Surroundings(
        owner=owner,
        fixed=fixed,
        size=tiff.source.size,
        kept=kept,
        places=places,
        tables=[table for page, count in zip(pages, counts, strict=True) for table in _tables(page, count)],
        stray=sum(stray) if (max(stray, default=0) if kept else sum(stray)) >= most else 0,
    )


def remarks(found: Surroundings | None, skipped: int) -> tuple[str, ...]:
    """What the user should know of it."""
    said = []
    kept = found is not None and bool(found["kept"])
    if skipped:
        fate = "are not denoised" if kept else "were left out of the result"
        said.append(f"{skipped} reduced copies or masks inside the file {fate}.")
    if found is not None and found["stray"]:
        fate = "are not denoised" if kept else "are not in the result"
        said.append(f"{found['stray']:,} bytes of the file belong to no page that it lists; images in them {fate}.")
    if found is not None and found["owner"] and not kept:
        said.append(f"{LOST} {found['owner']}.")
    return tuple(said)


def _owner(tiff: Tiff, first: Page) -> tuple[str | None, bool]:
    """(the program whose structure lies outside the directories, whether its readers compute places)."""
    for code, program in _PROGRAMS.items():
        if code in first.tags:
            return f"{program}'s tables", False
    head = tiff.source.head(24)
    words = [int.from_bytes(head[at : at + 4], "little" if tiff.order == "<" else "big") for at in (8, 16)]
    if words[0] in (*_MICROMANAGER_HEADERS, _NDTIFF):
        return "Micro-Manager's index, display settings and comments", True
    if tiff.big and words[1] == _SCANIMAGE:
        return "ScanImage's settings", True
    text = tiff.raw(first, ifd.DESCRIPTION)
    return None, not tiff.big and (text.startswith(b"state.") or b"scanimage.SI" in text[-256:])  # of before 2016


def _places(tiff: Tiff, pages: list[Page], counts: list[int], shape: Shape) -> Iterator[Places]:
    """(offset, size) of the strips or tiles of each plane."""
    size = plane_bytes(shape)
    for page, count in zip(pages, counts, strict=True):
        own = ifd.segments(tiff, page)
        if count == 1:
            yield tuple(own)
        else:
            yield from (((own[0][0] + index * size, size),) for index in range(count))


def _tables(page: Page, count: int) -> Iterator[Table | None]:
    tiled = ifd.TILE_OFFSETS in page.tags
    codes = (ifd.TILE_OFFSETS, ifd.TILE_COUNTS) if tiled else (ifd.STRIP_OFFSETS, ifd.STRIP_COUNTS)
    found = [page.tags[code] for code in codes if code in page.tags]
    known = count == 1 and len(found) == len(codes)
    for _ in range(count):
        yield ((found[0].kind, found[0].offset), (found[1].kind, found[1].offset)) if known else None


def _can_be_filled(tiff: Tiff, pages: list[Page], counts: list[int], shape: Shape) -> bool:
    """Whether new pixels can take the old ones' places under the old directories."""
    codes = (ifd.COMPRESSION, tagging.PREDICTOR, _FILL_ORDER, *_TILING)
    layouts = {tuple(tiff.number(page, code, 1) for code in codes) for page in pages}
    compression, predictor, fill, *_ = next(iter(layouts))
    plain = bool(plane_bytes(shape)) and shape.photometric not in _CHANGED and fill == 1
    known = compression in _COMPRESSIONS and predictor in (1, 3 if shape.sample_format == 3 else 2)
    pieces, piece = _pieces(tiff, pages[0], shape)
    sizes = [[size for _, size in ifd.segments(tiff, page)] for page in pages]
    right = all(len(found) == pieces for found in sizes) and len(pages) * pieces <= _MAX_PLACES
    if len(layouts) > 1 or not (plain and known and right):
        return False
    if compression == 1:
        if ifd.TILE_WIDTH in pages[0].tags:
            return all(size >= piece for found in sizes for size in found)
        return all(sum(found) == plane_bytes(shape) or count > 1 for found, count in zip(sizes, counts, strict=True))
    if tiff.sizes_mislead or (tiff.source.size > _NEARLY_4_GB and not tiff.big):
        return False
    wide = _WIDE | {ifd.SHORT} if piece * 8 // 7 + _SMALL < 1 << 16 else _WIDE  # whatever the noise
    tables = [table for page, count in zip(pages, counts, strict=True) for table in _tables(page, count)]
    return all(table is not None and table[0][0] in _WIDE and table[1][0] in wide for table in tables)


def _pieces(tiff: Tiff, page: Page, shape: Shape) -> tuple[int, int]:
    """(strips or tiles of a page, bytes of one before compression); no tiles where no writer makes such."""
    apart = shape.samples if tiff.number(page, ifd.PLANAR, 1) == 2 else 1
    sample = shape.samples // apart * shape.bits // 8
    if ifd.TILE_WIDTH in page.tags:
        wide, high = tiff.number(page, ifd.TILE_WIDTH), tiff.number(page, ifd.TILE_LENGTH)
        count = -(-shape.width // wide) * -(-shape.height // high) if wide % 16 == high % 16 == 0 else 0
        return apart * count, wide * high * sample
    rows = min(tiff.number(page, ifd.ROWS_PER_STRIP, shape.height) or shape.height, shape.height)
    return apart * -(-shape.height // rows), rows * shape.width * sample


# ---- what is listed --------------------------------------------------------------------------------------------------


def _listed(tiff: Tiff, pages: set[int]) -> Iterator[Span]:
    """The header, every directory, its values, and the pixels of those that are not at `pages` (copies, masks)."""
    yield 0, 16 if tiff.big else 8
    waiting: list[Page | int] = [*tiff.pages()]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        found = waiting.pop()
        offset = found if isinstance(found, int) else found.offset
        if offset in seen:
            continue
        seen.add(offset)
        try:
            page = tiff.page(found) if isinstance(found, int) else found
            yield offset, offset + (16 + 20 * len(page.tags) if tiff.big else 6 + 12 * len(page.tags))
            yield from ((tag.offset, tag.offset + tag.size) for tag in page.tags.values())
            if offset not in pages:
                yield from ((start, start + size) for start, size in ifd.segments(tiff, page))
            for code in (ifd.SUB_IFDS, *tagging.DIRECTORIES, tagging.INTEROP_IFD, _GLOBAL_IFD):
                waiting += [int(place) for place in tiff.values(page, code, (), 4096) if place]
            place, size = (
                tiff.number(page, _JPEG_AT),
                tiff.number(page, _JPEG_SIZE),
            )  # a preview of the older kind of JPEG
            yield place, place + size
        except BrokenImage:
            continue


def _blocks(tiff: Tiff) -> Iterator[Span]:
    """The blocks behind the header that Micro-Manager's and ScanImage's formats describe."""
    source = tiff.source
    if source.size < 40:
        return
    first, place, *pairs, summary, length = source.unpack(tiff.order + "8I", 8)
    if tiff.big:
        magic, _, settings, regions = source.unpack("<4I", 16)
        if magic == _SCANIMAGE:
            yield 16, 32 + settings + regions
        return
    if first == _NDTIFF:  # of version 3 with its minor version before
        yield 8, 24 + pairs[1] if pairs[0] == _SUMMARY else 28 + pairs[2]
    if first not in _MICROMANAGER_HEADERS or summary != _SUMMARY:
        return
    yield 8, 40 + length
    for magic, at in zip((first, *pairs[::2]), (place, *pairs[1::2]), strict=True):
        expected, width = _MICROMANAGER_HEADERS.get(magic, (0, 0))
        if expected and 0 < at <= source.size - 8:
            found, count = source.unpack(tiff.order + "2I", at)
            if found == expected:
                yield at, at + 8 + width * count


def _merged(spans: list[Span]) -> list[Span]:
    """The spans in order, those that touch or overlap as one."""
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        elif end > start:
            merged.append([start, end])
    return [(start, end) for start, end in merged]


def _length(spans: list[Span]) -> int:
    return sum(end - start for start, end in spans)


def _gaps(spans: list[Span], size: int) -> Iterator[Span]:
    end = 0
    for start, stop in [*spans, (size, size)]:
        if start > end:
            yield end, min(start, size)
        end = max(end, stop)


def _filled(tiff: Tiff, gap: Span) -> Iterator[Span]:
    """The gap without the zeros at its ends, which pad; nothing if it holds nothing else."""
    first = last = None
    for start in range(*gap, MIB):
        data = tiff.source.read(start, min(MIB, gap[1] - start))
        if stripped := data.strip(b"\0"):
            first = start + data.index(stripped[:1]) if first is None else first
            last = start + len(data.rstrip(b"\0"))
    if first is not None and last is not None:
        yield first, last


def _kept(tiff: Tiff, pixels: list[Span], limits: Limits) -> list[tuple[int, bytes]]:
    """Everything that is no pixel; nothing if it is more than metadata may be."""
    spans = [span for gap in _gaps(pixels, tiff.source.size) for span in _filled(tiff, gap)]
    if sum(end - start for start, end in spans) > limits.max_metadata_bytes:
        return []
    return [(start, tiff.source.read(start, end - start)) for start, end in spans]
