"""The images of a fine-tune: fetched, unpacked and decoded one file at a time, each with a verdict, kept on disk.

All images of one kind lie one after the other in one file, which is mapped at the end: training reads crops of it, so
memory stays flat however large the set, and ten thousand images cost one open file.
"""

from __future__ import annotations

import hashlib
import mmap
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from images.archive import ArchiveLimits
from images.decode import Decoded, decode
from images.errors import ImageError
from images.limits import GIB, Limits
from images.probe import sniff_archive
from images.unpack import unpack
from model.arrays.known_parts import Part, parts
from model.arrays.missing import filled, find
from store.blobs import Blobs
from store.errors import BlobMissing
from store.training_file import TrainingFile
from worker.errors import Refused, Retriable
from worker.set_series import Origin, series_of

Array = NDArray[Any]

SMALLEST_SIDE = 64
"""Smaller images cannot be cut into crops that training learns much from."""

RESERVE_BYTES = GIB
"""What is left free on the disk: a full one harms everybody on the machine."""

DEPTHS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}


@dataclass(frozen=True)
class Verdict:
    """Whether one file is learned from, and why not."""

    name: str
    kept: bool
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    channels: int | None = None
    dtype: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TrainingSet:
    """What is left to learn from: images (C, H, W) of one channel count and type, views of one mapped file.

    `files` tells which of the verdicts' files each image is a page of, `origins` more about that.
    """

    images: list[Array]
    files: list[int]
    origins: list[Origin]
    channels: int
    dtype: str
    pixels: int
    verdicts: list[Verdict]
    mapped: mmap.mmap

    @property
    def kept(self) -> int:
        return sum(verdict.kept for verdict in self.verdicts)

    def release(self) -> None:
        """Let go of the pages that were read: they stay on disk, and memory stays small however long it trains."""
        self.mapped.madvise(mmap.MADV_DONTNEED)

    def series(self, channels: int, said: bool) -> list[list[int]]:
        """Numbers of what `for_channels` gives that may be frames of one scene, in order; `said` as in `series_of`."""
        found = series_of(self.origins, [image.shape for image in self.images], said)
        if channels == self.channels:
            return found
        own = range(self.channels)
        return [[number * self.channels + channel for number in those] for those in found for channel in own]

    def for_channels(self, channels: int) -> tuple[list[Array], list[int]]:
        """The images and the file of each, as a model of so many channels takes them.

        Each channel is an image (1, H, W) of its own where the model looks at one and the images have more.
        """
        if channels == self.channels:
            return self.images, self.files
        planes = [image[channel : channel + 1] for image in self.images for channel in range(self.channels)]
        return planes, [file for file in self.files for _ in range(self.channels)]


@dataclass
class _Kind:
    """All images of one channel count and type, in a file."""

    file: IO[bytes]
    path: Path
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    pixels: int = 0


class Gathering:
    """Builds a `TrainingSet`. `limits` bound one image, `archives` what an archive unpacks to.

    Attributes:
        pixels_seen: of all frames that were decoded, learned from or not.
    """

    def __init__(self, blobs: Blobs, folder: Path, limits: Limits, archives: ArchiveLimits) -> None:
        self._blobs = blobs
        self._folder = folder
        self._limits = limits
        self._archives = archives
        self._kinds: dict[tuple[int, str], _Kind] = {}
        self._verdicts: list[Verdict] = []
        self._seen: set[bytes] = set()
        self._unpacked = self._unpacked_bytes = 0
        self.pixels_seen = 0

    def add_all(self, files: Sequence[TrainingFile], on_file: Callable[[int], None]) -> None:
        """Look at every file; tells `on_file` how many are done, also while a file is worked on; it may raise to stop.

        Raises:
            BlobStoreError, Retriable: another attempt may work.
        """
        self._require_room(sum(file.bytes + file.pixels for file in files))
        for number, file in enumerate(files):
            self._add(file, partial(on_file, number))
            on_file(number + 1)

    def finish(self, min_pixels: int) -> TrainingSet:
        """The set of the most frequent kind of image; the others get the verdict that they are of another.

        Raises:
            Refused: fewer than `min_pixels` pixels are left.
        """
        if not self._kinds:
            raise Refused("no_usable_images", f"None of the files can be learned from. {self._reasons()}")
        chosen = max(self._kinds, key=lambda kind: (len(self._kinds[kind].shapes), self._kinds[kind].pixels))
        self._close_others(chosen)
        kind = self._kinds[chosen]
        if kind.pixels < min_pixels:
            raise Refused(
                "too_few_pixels",
                f"{kind.pixels:,} usable pixels are left; a fine-tune needs at least {min_pixels:,} "
                f"(B2S_MIN_SET_PIXELS). Send more or larger images. {self._reasons()}",
            )
        kind.file.flush()
        mapped = mmap.mmap(kind.file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)
        kind.file.close()
        images = _views(mapped, kind.shapes, chosen[1])
        files = [origin.file for origin in kind.origins]
        return TrainingSet(images, files, kind.origins, *chosen, kind.pixels, self._verdicts, mapped)

    def close(self) -> None:
        """Close the files; the folder's owner removes them."""
        for kind in self._kinds.values():
            kind.file.close()

    def _add(self, file: TrainingFile, on_member: Callable[[], None]) -> None:
        if not file.archive and file.bytes > self._limits.max_bytes:
            self._refuse(file.name, f"it has {file.bytes:,} bytes; at most {self._limits.max_bytes:,} are read")
            return
        fetched = self._folder / "fetched"
        try:
            self._fetch(file, fetched)
        except BlobMissing:
            self._refuse(file.name, "its bytes were deleted after the job was sent")
            return
        if _is_archive(fetched):
            self._add_archive(file, fetched, on_member)
        else:
            self._add_image(file.name, fetched, on_member)
        fetched.unlink()

    def _fetch(self, file: TrainingFile, target: Path) -> None:
        self._require_room(file.bytes)
        with target.open("wb") as out:
            for chunk in self._blobs.stream(file.key):
                out.write(chunk)

    def _add_archive(self, file: TrainingFile, fetched: Path, on_member: Callable[[], None]) -> None:
        member_path = self._folder / "member"
        try:
            for member in unpack(fetched, member_path, self._left(), on_member):
                on_member()
                self._unpacked += 1
                self._unpacked_bytes += member.size
                self._require_room(0)
                if member.refused is not None:
                    self._refuse(f"{file.name}/{member.name}", member.refused)
                else:
                    self._add_image(f"{file.name}/{member.name}", member_path, on_member)
        except ImageError as error:
            self._refuse(file.name, str(error))

    def _left(self) -> ArchiveLimits:
        """The bounds hold for all archives of a set together."""
        bounds = self._archives
        files, size = bounds.max_files - self._unpacked, bounds.max_bytes - self._unpacked_bytes
        return ArchiveLimits(max(files, 0), max(size, 0), bounds.max_file_bytes)

    def _add_image(self, name: str, path: Path, check: Callable[[], None]) -> None:
        try:
            decoded = decode(path, self._limits, check=check)
        except ImageError as error:
            self._refuse(name, str(error))
            return
        self.pixels_seen += decoded.info.pixels
        frames = [index for index, frame in enumerate(decoded.pixels) if self._fresh(frame)]
        reason = _reason_against(decoded, frames)
        if reason is None and not self._write(name, decoded, frames):
            reason = (
                f"no part of it of {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels was measured throughout (padding, gaps, "
                "NaN, no data)"
            )
        info = decoded.info
        shape = (info.width, info.height, info.frames, info.channels)
        self._verdicts.append(Verdict(name, reason is None, reason, *shape, str(decoded.pixels.dtype)))

    def _fresh(self, frame: Array) -> bool:
        """Whether a frame's pixels were not seen before: a copy would be trained on and judged by at once."""
        digest = hashlib.blake2b(np.ascontiguousarray(frame).data, digest_size=16).digest()
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True

    def _write(self, name: str, decoded: Decoded, frames: Sequence[int]) -> int:
        """Keep what was measured of some frames, the parts between gaps as an image each; gives how many."""
        self._require_room(decoded.pixels.nbytes)
        key = (decoded.pixels.shape[-1], str(decoded.pixels.dtype))
        missing = find(decoded.pixels, decoded.missing, decoded.shift)
        written = 0
        for index in frames:
            gaps = missing.of(index, decoded.pixels[index])
            frame = filled(decoded.pixels[index], gaps)
            for part in _parts(frame, gaps):
                place = tuple((side.start, side.stop) for side in part)
                # The file's verdict will be the next one.
                origin = Origin(name, len(self._verdicts), decoded.series[index], place, len(decoded.pixels))
                self._append(key, frame[part], origin)
                written += 1
        return written

    def _append(self, key: tuple[int, str], frame: Array, origin: Origin) -> None:
        if key not in self._kinds:
            path = self._folder / f"{key[0]}-{key[1]}.images"
            self._kinds[key] = _Kind(path.open("wb+"), path)
        kind = self._kinds[key]
        image = np.ascontiguousarray(np.moveaxis(frame, -1, 0))  # (H, W, C) -> (C, H, W)
        kind.file.write(image.data)
        kind.shapes.append(image.shape)
        kind.origins.append(origin)
        kind.pixels += image.shape[1] * image.shape[2]

    def _close_others(self, chosen: tuple[int, str]) -> None:
        for key, kind in self._kinds.items():
            if key != chosen:
                kind.file.close()
                kind.path.unlink()
        most = _kind_name(*chosen)
        self._verdicts = [
            verdict
            if not verdict.kept or (verdict.channels, verdict.dtype) == chosen
            else replace(
                verdict,
                kept=False,
                reason=f"it is {_kind_name(verdict.channels or 0, verdict.dtype or '')}, and most of the set is "
                f"{most}; make a model for each",
            )
            for verdict in self._verdicts
        ]

    def _refuse(self, name: str, reason: str) -> None:
        self._verdicts.append(Verdict(name, False, reason))

    def _reasons(self) -> str:
        """The first few verdicts against files, for the error of a set that cannot be used."""
        against = [verdict for verdict in self._verdicts if not verdict.kept]
        shown = "; ".join(f"{verdict.name}: {verdict.reason}" for verdict in against[:3])
        return f"Left out: {shown}" + (f"; and {len(against) - 3} more." if len(against) > 3 else "") if shown else ""

    def _require_room(self, size: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free - size < RESERVE_BYTES:
            raise Retriable(
                "scratch_full",
                f"The set needs {size:,} more bytes on the worker's disk, which has {free:,} free and keeps "
                f"{RESERVE_BYTES:,}. Send fewer images, or let the operator point B2S_SCRATCH_DIR to a larger disk.",
            )


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return sniff_archive(file.read(512)) is not None


def _parts(frame: Array, gaps: NDArray[np.bool_] | None) -> list[Part]:
    """The parts of a frame (H, W, C) that are learned from: constant ones teach nothing."""
    if gaps is None:
        return [(slice(None), slice(None))]
    return [
        part for part in parts(np.logical_or.reduce(gaps, -1), SMALLEST_SIDE) if frame[part].min() < frame[part].max()
    ]


def _reason_against(decoded: Decoded, fresh: Sequence[int]) -> str | None:
    """Why a decoded file is not learned from, if so; `fresh` are its frames that were not seen before."""
    info = decoded.info
    if min(info.width, info.height) < SMALLEST_SIDE:
        return f"it is {info.width} x {info.height} pixels; the smaller side needs at least {SMALLEST_SIDE}"
    if decoded.denoised_before:
        return "it was denoised before, so its noise is gone"
    if not fresh:
        return "an earlier file has the same pixels"
    if all(decoded.pixels[index].min() == decoded.pixels[index].max() for index in fresh):
        return "all its pixels have one value"
    return None


def _views(mapped: mmap.mmap, shapes: Sequence[tuple[int, ...]], dtype: str) -> list[Array]:
    flat = np.frombuffer(mapped, dtype)
    return list(_cut(flat, shapes))


def _cut(flat: Array, shapes: Sequence[tuple[int, ...]]) -> Iterator[Array]:
    start = 0
    for shape in shapes:
        end = start + int(np.prod(shape, dtype=np.int64))
        yield flat[start:end].reshape(shape)
        start = end


def _kind_name(channels: int, dtype: str) -> str:
    colours = {1: "gray", 3: "RGB"}.get(channels, f"of {channels} channels")
    return f"{DEPTHS.get(dtype, dtype)} {colours}"
