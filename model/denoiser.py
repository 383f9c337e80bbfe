"""Denoise arrays: the border between NumPy outside and torch inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from model import covariance, normalise, tiling, weights
from model.cpu_runtime import CpuRuntime, supports
from model.errors import InvalidArray, InvalidOption
from model.evidence import Evidence
from model.networks import DenoiserNetwork, ShuffleUNet
from model.normalise import Kind, Normalisation, Scalings
from model.report import Report

Array = NDArray[Any]
OnTile = Callable[[int, int], None]
OnPage = Callable[[int, int], None]

CPU_TILE = 1024
GPU_TILE = 2048
SMALLEST_TILE = 128


@dataclass
class Denoiser:
    """A trained denoiser, ready for images. Make one with `Denoiser.load`.

    Attributes:
        name: the shipped name or the file's stem.
        channels: image channels the network takes at once.
        card: how the model was made.
        sha256: of the weights file.
        out_of_memory_retries: how often a tile was halved because the GPU was full.
    """

    name: str
    network: DenoiserNetwork
    card: dict[str, Any]
    sha256: str
    device: torch.device
    out_of_memory_retries: int = field(default=0, init=False)
    _runtimes: dict[int, CpuRuntime] = field(default_factory=dict, init=False, repr=False)  # by their threads

    def __post_init__(self) -> None:
        self._runtime()  # not with the first image

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "auto") -> Denoiser:
        """A shipped model by name (`base-gray`, `base-rgb`) or any weights file of this program.

        Args:
            device: `auto` (CUDA when there is one), `cpu` or `cuda`.

        Raises:
            WeightsError: no such model, or not one of this program's files.
        """
        path = weights.resolve(name_or_path)
        published = weights.read(path)
        where = device_named(device)
        network = published.denoiser.requires_grad_(False).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(path.stem, network, published.card, published.sha256, where)

    @property
    def channels(self) -> int:
        return self.network.channels

    def denoise(
        self,
        array: Array,
        *,
        strength: float = 1.0,
        normalize: str | Normalisation | Scalings = "auto",
        tile: int | None = None,
        on_tile: OnTile | None = None,
    ) -> Array:
        """The denoised array, of the same shape and type.

        Pixels far outside the range that the normalisation expects (hot pixels, marks for missing data) stay as they
        are and do not disturb those about them.

        Args:
            array: (H, W), (H, W, C) or (N, H, W, C); integers of up to 32 bits or floats. A stack is normalised once.
                With a gray model every channel is normalised and denoised by itself.
            strength: share of the estimated noise that is taken out, 0 … 1.
            normalize: `auto` (percentiles to [0, 1]), `dtype` (integers by their full scale), `none`, one map for all,
                or what `scalings` gave for another array.
            tile: side of a tile's core in pixels; the default fits the device.
            on_tile: called with (done, total) after each tile; what it raises ends the work and reaches the caller.

        Raises:
            InvalidArray: shape, type or values that cannot be denoised.
            InvalidOption: an option outside its range.
        """
        return self._run(array, strength, normalize, tile, on_tile, None)

    def denoise_with_report(
        self,
        array: Array,
        *,
        strength: float = 1.0,
        normalize: str | Normalisation | Scalings = "auto",
        page_channels: Sequence[int] | None = None,
        top: int | None = None,
        tile: int | None = None,
        on_tile: OnTile | None = None,
        on_page: OnPage | None = None,
        out: Array | None = None,
        report: bool = True,
    ) -> tuple[Array, Report | None]:
        """As `denoise`, with the report of what was done (None with `report=False`).

        A stack larger than memory goes through page by page if `array` and `out` are memory-mapped and `on_page`
        lets go of the pages it is told are done.

        Args:
            page_channels: of a stack whose pages are channels, the channel of each page; None: pages are frames.
            top: the largest value that a pixel of the file can have, if it is less than the type's.
            on_page: called with (done, total) after each page of a stack; what it raises ends the work.
            out: where the result goes, of the array's shape and type; default: a new array.
        """
        evidence = Evidence(array.dtype, top, strength) if report else None
        out = self._run(array, strength, normalize, tile, on_tile, evidence, on_page, out, page_channels)
        return out, evidence.report() if evidence else None

    def scalings(self, array: Array, mode: str = "auto", page_channels: Sequence[int] | None = None) -> Scalings:
        """How `denoise` would normalise an array: each kind of plane by itself, since channels differ in brightness.

        In `auto`, a fine-tuned model has its set's own normalisation, for files of the set's type whose brightness is
        not far beyond the set's.

        Raises:
            InvalidArray, InvalidOption: as `denoise`.
        """
        stack = self._as_stack(array)
        pages: dict[int, list[int]] = {}
        for page, channel in enumerate(_channel_of_page(page_channels, stack)):
            pages.setdefault(channel, []).append(page)
        found: dict[Kind, Normalisation] = {}
        warnings: list[str] = []
        own = self._own_normalisation(stack.dtype) if mode == "auto" else None
        for channel, those in pages.items():
            for group in self._channel_groups(stack.shape[-1]):
                # Only `auto` looks at values; a large stack need not be read for the others.
                values = normalise.sample(stack, those if mode == "auto" else those[:1], group)
                if own and normalise.fits(own, values):
                    found[channel, group.start] = own
                else:
                    found[channel, group.start] = normalise.choose(values, mode)
                    warnings += [_OTHER_BRIGHTNESS] if own else []
        return Scalings(found, tuple(dict.fromkeys(warnings)))

    def _own_normalisation(self, dtype: np.dtype[Any]) -> Normalisation | None:
        own = self.card.get("normalisation")
        return Normalisation(own["offset"], own["scale"]) if own and own["dtype"] == str(dtype) else None

    def _run(
        self,
        array: Array,
        strength: float,
        normalize: str | Normalisation | Scalings,
        tile: int | None,
        on_tile: OnTile | None,
        evidence: Evidence | None,
        on_page: OnPage | None = None,
        out: Array | None = None,
        page_channels: Sequence[int] | None = None,
    ) -> Array:
        if not 0.0 <= strength <= 1.0:
            raise InvalidOption(f"strength must be between 0 and 1, not {strength}")
        stack = self._as_stack(array)
        paged = stack.nbytes > normalise.SAMPLED_BYTES  # may live on disk: looked at page by page only
        if not paged:
            normalise.require_finite(stack)
        channel_of = _channel_of_page(page_channels, stack)
        if out is None:
            out = np.empty(array.shape, array.dtype)
        elif (out.shape, out.dtype) != (array.shape, array.dtype):
            raise InvalidArray(
                f"out is {out.shape} {out.dtype}, the array {array.shape} {array.dtype}: make them alike"
            )
        out_stack = self._as_stack(out)
        groups = list(self._channel_groups(stack.shape[-1])) if strength > 0.0 or evidence else []
        scalings = self._scalings(stack, normalize, channel_of)
        tiles = self._tiles(stack.shape[1], stack.shape[2], tile)
        total = len(stack) * len(groups) * len(tiles)
        if evidence:
            evidence.begin(scalings, total, len(stack))
        done = 0
        for index, (page, out_page) in enumerate(zip(stack, out_stack, strict=True)):
            if paged:
                normalise.require_finite(page)
            out_page[...] = page
            for group in groups:
                kind = (channel_of[index], group.start)
                for place in tiles:
                    self._denoise_tile(
                        page[..., group], out_page[..., group], place, kind, scalings.by_kind[kind], strength, evidence
                    )
                    done += 1
                    if on_tile:
                        on_tile(done, total)
                if evidence:
                    evidence.add_ends(page, group, kind)
            if on_page:
                on_page(index + 1, len(stack))
        return out

    def _scalings(self, stack: Array, normalize: str | Normalisation | Scalings, channel_of: Sequence[int]) -> Scalings:
        if isinstance(normalize, Scalings):
            return normalize
        if isinstance(normalize, str):
            return self.scalings(stack, normalize, channel_of)
        groups = list(self._channel_groups(stack.shape[-1]))
        return Scalings({(channel, group.start): normalize for channel in set(channel_of) for group in groups})

    def _denoise_tile(
        self,
        page: Array,
        out: Array,
        place: tiling.Tile,
        kind: Kind,
        scaling: Normalisation,
        strength: float,
        evidence: Evidence | None,
    ) -> None:
        """Denoise one tile of `page` (H, W, c) into `out`, a view of the same shape."""
        window = tiling.read_window(page, place.window)
        unit = np.ascontiguousarray(scaling.to_unit(window).transpose(2, 0, 1))  # (c, h, w)
        known, beyond = _known(unit)
        mean, variance = self._infer(known, evidence is not None)
        rows, columns = place.core
        rows = slice(rows.start, min(rows.stop, page.shape[0]))
        columns = slice(columns.start, min(columns.stop, page.shape[1]))
        inner = (
            slice(None),
            slice(place.inner[0].start, place.inner[0].start + rows.stop - rows.start),
            slice(place.inner[1].start, place.inner[1].start + columns.stop - columns.start),
        )
        residual = mean[inner] - known[inner]  # (c, h, w), what is added to the noisy pixels at full strength
        if beyond is not None:
            beyond = beyond[inner]
            residual[beyond] = 0
        if evidence:
            assert variance is not None
            evidence.add(kind, known[inner], mean[inner], variance[inner], beyond)
        if strength > 0:
            change = residual.transpose(1, 2, 0) * np.float32(strength * scaling.scale)
            _add_in_place(out[rows, columns], change)

    def infer(self, unit: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Posterior mean and the diagonal of Σ_x of one window, without tiling.

        Args:
            unit: (c, h, w) in normalised units, c the network's channels, h and w multiples of its stride.
        """
        mean, variance = self._infer(np.ascontiguousarray(unit, np.float32), True)
        assert variance is not None
        return mean, variance

    def _infer(
        self, unit: NDArray[np.float32], with_variance: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """μ and, when asked for, the diagonal of Σ_x of one padded window (c, h, w)."""
        while True:
            try:
                return self._forward(unit, with_variance)
            except torch.cuda.OutOfMemoryError:
                if min(unit.shape[1:]) < 2 * SMALLEST_TILE:
                    raise
            # Outside the except block: the exception holds the tensors that filled the card.
            self.out_of_memory_retries += 1
            torch.cuda.empty_cache()
            return self._infer_in_quarters(unit, with_variance)

    def _infer_in_quarters(
        self, unit: NDArray[np.float32], with_variance: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        height, width = unit.shape[1:]
        mean = np.empty_like(unit)
        variance = np.empty_like(unit) if with_variance else None
        network = self.network
        half = max(height, width) // 2
        for place in tiling.plan(height, width, size=half, halo=network.halo, stride=network.stride):
            part, spread = self._infer(np.ascontiguousarray(unit[:, *place.window]), with_variance)
            mean[:, *place.core] = part[:, *place.inner]
            if variance is not None and spread is not None:
                variance[:, *place.core] = spread[:, *place.inner]
        return mean, variance

    @torch.inference_mode()
    def _forward(
        self, unit: NDArray[np.float32], with_variance: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        if runtime := self._runtime():
            found, root = runtime(unit)
            return found, _diagonal(torch.from_numpy(root)[None]) if with_variance else None
        noisy = torch.from_numpy(unit)[None].to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            mean, factor = self.network(noisy)
        return mean.float().cpu().numpy()[0], _diagonal(factor.float()) if with_variance else None

    def _runtime(self) -> CpuRuntime | None:
        """The faster way on a CPU, if the network has one, with as many threads as torch has now."""
        if self.device.type != "cpu" or not supports(self.network):
            return None
        threads = torch.get_num_threads()
        if threads not in self._runtimes:  # each packs its weights for its number of threads
            self._runtimes[threads] = CpuRuntime(cast(ShuffleUNet, self.network), threads)
        return self._runtimes[threads]

    def _tiles(self, height: int, width: int, tile: int | None) -> list[tiling.Tile]:
        stride = self.network.stride
        size = (GPU_TILE if self.device.type == "cuda" else CPU_TILE) if tile is None else tile
        if size < 1:
            raise InvalidOption(f"tile must be a positive number of pixels, not {tile}")
        padded = (tiling.padded_side(height, stride), tiling.padded_side(width, stride))
        return tiling.plan(*padded, size=size, halo=self.network.halo, stride=stride)

    def _channel_groups(self, channels: int) -> Iterator[slice]:
        """Channels that go through the network together."""
        if channels == self.channels:
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


def _diagonal(factor: torch.Tensor) -> NDArray[np.float32]:
    """Diagonal of Σ_x (C, H, W) from its factor (1, T, H, W)."""
    found: NDArray[np.float32] = covariance.diagonal_of(covariance.outer_gram(factor)).cpu().numpy()[0]
    return found


def base_model_for(channels: int) -> str:
    """The shipped model for images of this many channels: `base-rgb` for 3, else `base-gray`, channel by channel."""
    return "base-rgb" if channels == 3 else "base-gray"


def estimate_with_spread(denoiser: Denoiser, array: Array, normalize: str = "auto", crops: int = 3) -> dict[str, float]:
    """α and σ of an image (H, W) or (H, W, C), and their standard deviation over crops × crops equal pieces.

    Returns:
        alpha, sigma of the whole image, alpha_spread, sigma_spread; normalised units.
    """
    scaling = denoiser.scalings(array, normalize)

    def fit(piece: Array) -> tuple[float, float]:
        _, found = denoiser.denoise_with_report(piece, normalize=scaling)
        assert found is not None
        return found.alpha, found.sigma

    alpha, sigma = fit(array)
    height, width = array.shape[0] // crops, array.shape[1] // crops
    corners = [(r * height, c * width) for r in range(crops) for c in range(crops)] if min(height, width) else []
    pieces = [fit(array[r : r + height, c : c + width]) for r, c in corners] or [(alpha, sigma)]
    spread = np.std(pieces, axis=0)
    return {"alpha": alpha, "sigma": sigma, "alpha_spread": float(spread[0]), "sigma_spread": float(spread[1])}


_OTHER_BRIGHTNESS = (
    "the image is far brighter or darker than those that the model was made from, so it was normalised by its own "
    "percentiles: compare with the base model"
)


def _channel_of_page(page_channels: Sequence[int] | None, stack: Array) -> Sequence[int]:
    """The channel of every page of a stack (N, H, W, C)."""
    if page_channels is None:
        return [0] * len(stack)
    if len(page_channels) != len(stack):
        raise InvalidOption(f"page_channels names {len(page_channels)} pages and the stack has {len(stack)}")
    return page_channels


def _known(unit: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """The values cut to what the networks know, and which of them stay as they are; None if there are none.

    One hot pixel would spoil all about it. What is cut off comes back with the result: of a bright star, whose noise is
    taken out as if it were less bright, nothing is lost.
    """
    darkest, brightest = unit.min(), unit.max()
    if normalise.KNOWN[0] <= darkest and brightest <= normalise.KNOWN[1]:
        return unit, None
    known = np.clip(unit, np.float32(normalise.KNOWN[0]), np.float32(normalise.KNOWN[1]))
    if normalise.STAYING[0] <= darkest and brightest <= normalise.STAYING[1]:
        return known, None
    return known, (unit < normalise.STAYING[0]) | (unit > normalise.STAYING[1])


def _add_in_place(pixels: Array, change: NDArray[np.float32]) -> None:
    """pixels += change, rounded and clipped to an integer type's range."""
    if pixels.dtype.kind == "f":
        pixels += change.astype(pixels.dtype)
        return
    limits = np.iinfo(pixels.dtype)
    wide: Array = pixels.astype(np.float64 if pixels.dtype.itemsize > 2 else np.float32)
    pixels[...] = np.clip(np.rint(wide + change), limits.min, limits.max).astype(pixels.dtype)


def device_named(name: str) -> torch.device:
    """The device that a setting means: `auto` is CUDA when there is one, else the CPU; others as torch names them."""
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))
