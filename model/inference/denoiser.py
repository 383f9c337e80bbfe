"""Denoise arrays: the border between NumPy outside and torch inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.arrays import intensity
from model.arrays.intensity import Intensity
from model.arrays.missing import Mask, Missing, as_seen, find
from model.arrays.normalise import Normalisation
from model.errors import InvalidArray, InvalidOption
from model.inference import tiling
from model.inference.backend import Backends, device_named
from model.inference.line_step import LineStep
from model.inference.pages import Pages
from model.inference.posterior import estimate
from model.inference.request import Progress, Request
from model.inference.rounding import BY_PLACE, Rounder, Rounding
from model.inference.scalings import OwnScale, choose_scalings
from model.networks import weights
from model.networks.unets import ABSENT, DenoiserNetwork
from model.noise.noise_kind import NoiseKind
from model.planes import PlaneKind, Scalings, View
from model.report.builder import ReportBuilder
from model.report.findings import Findings
from model.report.layout import SAME, Layout
from model.report.report import Report

Array = NDArray[Any]


@dataclass(frozen=True)
class _Plane:
    """Channels of a page that go through the network together, and where their result goes: (H, W, c) views.

    With an `intensity` that alone goes through, and its change is spread over the channels. Pixels that are `missing`
    are filled in `noisy`, and whatever is written to them in `out` is undone. What `lines` add is out of `noisy`.
    The network sees what is `beside` the page, too: the same channels of its neighbours.
    """

    noisy: Array
    out: Array
    page: int
    kind: PlaneKind
    view: View
    intensity: Intensity | None
    missing: Mask | None
    lines: Array | None
    beside: list[Array | None]


@dataclass
class Denoiser:
    """A trained denoiser, ready for images. Make one with `Denoiser.load`.

    Attributes:
        name: the shipped name or the file's stem.
        channels: image channels the network takes at once.
        card: how the model was made.
        sha256: of the weights file.
        precision: of the convolutions on a CPU, as `Backends` takes it.
    """

    name: str
    network: DenoiserNetwork
    card: dict[str, Any]
    sha256: str
    device: torch.device
    precision: str = "auto"

    def __post_init__(self) -> None:
        self._backends = Backends(self.network, self.device, self.precision)

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "auto", precision: str = "auto") -> Denoiser:
        """A shipped model by name (`base-gray`, `base-rgb`) or any weights file of this program.

        Args:
            device: `auto` (CUDA when there is one), `cpu` or `cuda`.
            precision: on a CPU `float32`, `bfloat16`, or `auto`, which is bfloat16 where a trial finds it much faster.

        Raises:
            WeightsError: no such model, or not one of this program's files.
            InvalidOption: no such precision.
        """
        path = weights.resolve(name_or_path)
        published = weights.read(path)
        where = device_named(device)
        network = published.denoiser.requires_grad_(False).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(path.stem, network, published.card, published.sha256, where, precision)

    @property
    def channels(self) -> int:
        return self.network.channels

    @property
    def frames(self) -> int:
        """Pages of a stack that the network sees at once; 1: each by itself."""
        return self.network.config.frames

    @property
    def backend(self) -> str:
        """Where and in which precision the network computes now, one of `backend.NAMES`."""
        return self._backends.current().name

    @property
    def out_of_memory_retries(self) -> int:
        """How often a tile was halved because the GPU was full."""
        return self._backends.out_of_memory_retries

    def denoise(
        self,
        array: Array,
        *,
        strength: float = 1.0,
        normalize: str | Normalisation | Scalings = "auto",
        tile: int | None = None,
        on_tile: Progress | None = None,
    ) -> Array:
        """The denoised array, of the same shape and type.

        Pixels that measured nothing (NaN, infinities, detectors' marks, padding: `arrays/missing.py`) and those far
        outside the range that the normalisation expects stay as they are and do not disturb those about them.

        Args:
            array: (H, W), (H, W, C) or (N, H, W, C); integers of up to 32 bits or floats. A stack is normalised once.
                With a gray model every channel is normalised and denoised by itself, or all by the one intensity that
                they follow (`model/arrays/intensity.py`).
            strength: share of the estimated noise that is taken out, 0 … 1.
            normalize: `auto` (percentiles to [0, 1]), `dtype` (integers by their full scale), `none`, one map for all,
                or what `scalings` gave for another array.
            tile: side of a tile's core in pixels; the default fits the device.
            on_tile: called with (done, total) after each tile; what it raises ends the work and reaches the caller.

        Raises:
            InvalidArray: shape, type or values that cannot be denoised, or no pixel measured anything.
            InvalidOption: an option outside its range.
        """
        request = Request(strength=strength, normalize=normalize, tile=tile, on_tile=on_tile, report=False)
        return self._run(array, None, request)[0]

    def denoise_with_report(
        self,
        array: Array,
        *,
        strength: float = 1.0,
        normalize: str | Normalisation | Scalings = "auto",
        page_channels: Sequence[int] | None = None,
        page_series: Sequence[int] | None = None,
        top: int | None = None,
        tile: int | None = None,
        on_tile: Progress | None = None,
        on_page: Progress | None = None,
        out: Array | None = None,
        report: bool = True,
        missing: Missing | None = None,
        rounding: Rounding = BY_PLACE,
        lines: LineStep | None = None,
        kind: NoiseKind | None = None,
        layout: Layout = SAME,
    ) -> tuple[Array, Report | None]:
        """As `denoise`, with the report of what was done (None with `report=False`).

        A stack larger than memory goes through page by page if `array` and `out` are memory-mapped and `on_page`
        lets go of the pages it is told are done.

        Args:
            page_channels: of a stack whose pages are channels, the channel of each page; None: pages are frames.
            page_series: the series of each page; pages of one are neighbours in time or depth, in their order, for
                networks that see several. Default: those of one channel.
            top: the largest value that a pixel of the file can have, if it is less than the type's.
            on_page: called with (done, total) after each page of a stack; what it raises ends the work.
            out: where the result goes, of the array's shape and type, or float32 for what is not rounded; default: a
                new array.
            missing: which pixels measured nothing; default: what `missing.find` finds.
            rounding: how integers are rounded where their steps are coarse.
            lines: how line noise is dealt with; default: what is certain is taken out.
            kind: the kind of noise, if `noise_kind.of_stack` was asked before.
            layout: how the report names places of the array.
        """
        request = Request(
            strength=strength, normalize=normalize, page_channels=page_channels, page_series=page_series, top=top,
            tile=tile, on_tile=on_tile, on_page=on_page, report=report, missing=missing, rounding=rounding,
            lines=lines or LineStep(), kind=kind, layout=layout,
        )  # fmt: skip
        return self._run(array, out, request)

    def scalings(
        self,
        array: Array,
        mode: str = "auto",
        page_channels: Sequence[int] | None = None,
        missing: Missing | None = None,
    ) -> Scalings:
        """How `denoise` would normalise an array: each kind of plane by itself, since channels differ in brightness.

        In `auto`, a fine-tuned model has its set's own normalisation, for files of the set's type whose brightness is
        not far beyond the set's.

        Raises:
            InvalidArray, InvalidOption: as `denoise`.
        """
        stack = self._as_stack(array)
        if missing is None:
            missing = find(stack)
        followed = intensity.find(stack) if self.channels == 1 else None
        groups = list(self._channel_groups(stack.shape[-1], followed))
        return choose_scalings(
            stack, mode, _of_pages(page_channels, stack), groups, missing, followed, OwnScale.of(self.card)
        )

    def _run(self, array: Array, out: Array | None, request: Request) -> tuple[Array, Report | None]:
        stack = self._as_stack(array)
        missing = find(stack) if request.missing is None else request.missing
        channel_of = _of_pages(request.page_channels, stack)
        out = _room_for(array, out)
        out_stack = self._as_stack(out)
        scalings = self._scalings(stack, request, channel_of, missing)
        followed = scalings.intensity
        works = request.strength > 0.0 or request.report
        groups = list(self._channel_groups(stack.shape[-1], followed)) if works else []
        tiles = self._tiles(stack.shape[1], stack.shape[2], request.tile)
        total = len(stack) * len(groups) * len(tiles)
        told = self.card.get("noise") == {"recipe": "camera"}, request.layout
        builder = ReportBuilder(array.dtype, request.top, request.strength, *told) if request.report else None
        findings = Findings(missing, len(stack), followed is not None, *told, request.kind)
        rounder = Rounder(request.rounding, scalings.by_kind, request.strength)
        if builder:
            builder.begin(scalings, total, len(stack))
        series = _of_pages(request.page_series, stack, channel_of)
        pages = Pages(stack, missing, request.lines, series, self.frames)
        done = 0
        for index, (page, out_page) in enumerate(zip(stack, out_stack, strict=True)):
            own, around = pages.at(index), pages.beside(index) if works else []
            out_page[...] = page
            for group in groups:
                kind = (channel_of[index], group.start)
                part, beside = own.of(group), [None if one is None else one.of(group).without for one in around]
                views = part.without, out_page[..., group]
                plane = _Plane(*views, index, kind, scalings.view(kind), followed, part.gaps, part.shifts, beside)
                for place in tiles:
                    self._denoise_tile(plane, place, rounder, builder)
                    done += 1
                    if request.on_tile:
                        request.on_tile(done, total)
                if builder:
                    builder.add_ends(own.seen, followed.strongest if followed else group, kind)
            if own.gaps is not None:
                np.copyto(out_page, page, where=own.gaps)
            if builder:
                noise = scalings.noise(channel_of[index], stack.shape[-1])
                findings.add(index, own.seen, own.without, out_page, own.gaps, noise)
            if request.on_page:
                request.on_page(index + 1, len(stack))
        return out, findings.told(rounder.told(builder.report())) if builder else None

    def _scalings(self, stack: Array, request: Request, channel_of: Sequence[int], missing: Missing) -> Scalings:
        normalize = request.normalize
        if isinstance(normalize, Scalings):
            return normalize
        if isinstance(normalize, str):
            return self.scalings(stack, normalize, channel_of, missing)
        groups = list(self._channel_groups(stack.shape[-1]))
        return Scalings({(channel, group.start): normalize for channel in set(channel_of) for group in groups})

    def _denoise_tile(self, plane: _Plane, place: tiling.Tile, rounder: Rounder, builder: ReportBuilder | None) -> None:
        window, *beside = (
            None if page is None else tiling.read_window(page, place.window) for page in (plane.noisy, *plane.beside)
        )
        assert window is not None
        if plane.intensity:
            window = plane.intensity.of(window)
            beside = [None if one is None else plane.intensity.of(one) for one in beside]
        corner = (place.window[0].start, place.window[1].start)
        seen = estimate(window, plane.view, self._backends.current(), corner, beside)
        (rows, columns), within = place.on_page(*plane.noisy.shape[:2])
        inner = (slice(None), *within)
        added = seen.change[inner]
        if builder:
            beyond = None if seen.beyond is None else seen.beyond[inner]
            gaps = None if plane.missing is None else as_seen(plane.missing[rows, columns], len(seen.noisy))
            mean = seen.noisy[inner] + added
            kept = None if seen.kept is None else seen.kept[inner]
            first = rows.start, columns.start
            builder.add(plane.kind, seen.noisy[inner], mean, seen.variance[inner], beyond, gaps, kept, first)
        if rounder.strength > 0:
            added = added if seen.kept is None else added * seen.kept[inner]
            change = added.transpose(1, 2, 0) * np.float32(rounder.strength * plane.view.first.scale)
            if plane.intensity:
                change = plane.intensity.spread(window[within], change)
            if plane.lines is not None:
                change = change - np.float32(rounder.strength) * plane.lines[rows, columns]
            rounder.add(plane.out[rows, columns], change, plane.kind, (plane.page, rows.start, columns.start))

    def infer(self, unit: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Posterior mean and the diagonal of Σ_x of one window, without tiling.

        Args:
            unit: (c, h, w) in normalised units, c the network's channels, h and w multiples of its stride. Frames
                that it could see beside it are absent.
        """
        beside = [np.full_like(unit, ABSENT, np.float32)] * (self.frames - 1)
        mean, variance = self._backends.current()(np.concatenate([unit, *beside], dtype=np.float32), True)
        assert variance is not None
        return mean, variance

    def _tiles(self, height: int, width: int, tile: int | None) -> list[tiling.Tile]:
        stride = self.network.stride
        size = self._backends.current().tile if tile is None else tile
        padded = (tiling.padded_side(height, stride), tiling.padded_side(width, stride))
        return tiling.plan(*padded, size=size, halo=self.network.halo, stride=stride)

    def _channel_groups(self, channels: int, followed: Intensity | None = None) -> Iterator[slice]:
        """Channels that go through the network together."""
        if channels == self.channels or followed:
            yield slice(0, channels)
        elif self.channels == 1:
            yield from (slice(c, c + 1) for c in range(channels))
        else:
            raise InvalidArray(
                f"{self.name} takes {self.channels} channels and the image has {channels}: use base-gray, which takes "
                "any number, one by one"
            )

    def _as_stack(self, array: Array) -> Array:
        """Any accepted array as a view (N, H, W, C)."""
        if array.dtype.kind not in "uif" or (array.dtype.kind in "ui" and array.dtype.itemsize > 4):
            raise InvalidArray(f"arrays of type {array.dtype} cannot be denoised: use uint8, uint16 or float32")
        if array.size == 0 or array.ndim not in (2, 3, 4):
            raise InvalidArray(f"shape {array.shape} is none of (H, W), (H, W, C), (N, H, W, C), or it is empty")
        if array.ndim == 2:
            return array[None, :, :, None]
        return array[None] if array.ndim == 3 else array


def base_model_for(channels: int) -> str:
    """The shipped model for images of this many channels: `base-rgb` for 3, else `base-gray`, channel by channel."""
    return "base-rgb" if channels == 3 else "base-gray"


def _of_pages(given: Sequence[int] | None, stack: Array, otherwise: Sequence[int] | None = None) -> Sequence[int]:
    """The channel, or the series, of every page of a stack (N, H, W, C)."""
    if given is None:
        return otherwise or [0] * len(stack)
    if len(given) != len(stack):
        raise InvalidOption(f"page_channels or page_series name {len(given)} pages and the stack has {len(stack)}")
    return given


def _room_for(array: Array, out: Array | None) -> Array:
    """Where the result of an array goes: `out`, or a new array."""
    if out is None:
        return np.empty(array.shape, array.dtype)
    if out.shape != array.shape or out.dtype not in (array.dtype, np.float32):
        raise InvalidArray(f"out is {out.shape} {out.dtype}, the array {array.shape} {array.dtype}: make them alike")
    return out
