"""How the noise of a set belongs together over neighbouring pixels and channels, and noise drawn of that shape.

A network for independent noise takes noise that neighbours share for structure and leaves it in. So it is shown every
s-th pixel (the pixel-shuffle of Lee et al., "AP-BSN", CVPR 2022): there the noise is independent again, and what the
network takes out of the flat parts, put back in place, shows the correlation at every lag. A base that knows such noise
is shown the pixels as they are. Measured on flat parts, since textures are correlated like noise.

The noise is taken as white noise of the signal's variance behind a filter, n = h ∗ (√v·w), so that it can be drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels
from model.inference import tiling
from model.inference.denoiser import Denoiser

REACH = 5  # pixels, of the lags that are measured
STRIDES = (3, 5)
SPILLS = 0.15  # correlation two pixels away from which on the larger stride is taken
CORRELATED = 0.2  # of neighbours, or channels in one pixel. White noise on photographs: up to 0.13 and 0.2 (texture)
BETWEEN = 0.3
STRONG = 0.02  # std in normalised units: weaker noise is hardly told from texture (`noise_kind.STRONG`)
SMALLEST = 0.04  # correlation that is not told from none
BLIND = 0.06  # correlation beyond which a pixel must not see its neighbour, to be predicted honestly
PROBED = 16  # images
WINDOW = 255  # pixels a side, from the middle of each
FLATTEST = 0.3  # share of the pixels
BOX = 9  # side of the squares whose flatness is told
GRID = 32  # frequencies a side
LEAST_POWER = 1e-4
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseShape:
    """Correlation of the noise.

    Attributes:
        correlation: (C, C, 2·REACH+1, 2·REACH+1), of channel c at a pixel with channel d at each lag.
        stride: of the pixels that it was measured on.
        strength: std in normalised units.
    """

    correlation: Doubles
    stride: int
    strength: float = 1.0

    @property
    def beside(self) -> float:
        """Of a pixel and the next one in its row, mean over the channels."""
        return self._own(0, 1)

    @property
    def below(self) -> float:
        return self._own(1, 0)

    @property
    def two_away(self) -> float:
        return max(self._own(0, 2), self._own(2, 0), key=abs)

    @property
    def between_channels(self) -> float:
        """Mean over pairs of channels, in one pixel; 0 of one channel."""
        pairs = np.triu_indices(len(self.correlation), 1)
        return float(self.correlation[*pairs, REACH, REACH].mean()) if len(pairs[0]) else 0.0

    @property
    def correlated(self) -> bool:
        """Whether pairs that take the noise for independent would be wrong."""
        alike = max(abs(self.beside), abs(self.below)) >= CORRELATED or self.between_channels >= BETWEEN
        return alike and self.strength >= STRONG

    @property
    def blind_reach(self) -> int:
        """How far away a pixel's noise is still told by others."""
        strong = np.abs(self.correlation).max((0, 1)) >= BLIND
        rows, columns = np.nonzero(strong)
        return int(max(np.abs(rows - REACH).max(), np.abs(columns - REACH).max()))

    @cached_property
    def filters(self) -> Tensor:
        """h, (C, C, K, K), that makes noise of this shape and of unit variance of white noise."""
        channels = len(self.correlation)
        grid = np.zeros((channels, channels, GRID, GRID))
        near = np.where(np.abs(self.correlation) >= SMALLEST, self.correlation, 0.0)
        grid[:, :, : 2 * REACH + 1, : 2 * REACH + 1] = near
        power = np.fft.fft2(np.roll(grid, (-REACH, -REACH), (2, 3))).transpose(2, 3, 0, 1)
        values, vectors = np.linalg.eigh((power + power.conj().swapaxes(2, 3)) / 2)
        root = (vectors * np.sqrt(np.maximum(values, LEAST_POWER))[..., None, :]) @ vectors.conj().swapaxes(2, 3)
        kernel = np.roll(np.fft.ifft2(root.transpose(2, 3, 0, 1)).real, (REACH, REACH), (2, 3))
        kernel = kernel[:, :, : 2 * REACH + 1, : 2 * REACH + 1]
        kernel /= np.sqrt((kernel**2).sum((1, 2, 3), keepdims=True))
        return torch.from_numpy(np.ascontiguousarray(kernel[:, :, ::-1, ::-1], np.float32))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready numbers."""
        named = {"beside": self.beside, "below": self.below, "two_away": self.two_away}
        found: dict[str, Any] = {name: round(value, 3) for name, value in named.items()}
        return found | {"between_channels": round(self.between_channels, 3), "correlated": self.correlated}

    def words(self, treated_as_correlated: bool) -> str:
        """What was found and which way is taken, in a sentence."""
        numbers = f"correlation {self.beside:.2f} beside, {self.below:.2f} below, {self.two_away:.2f} two pixels away"
        if len(self.correlation) > 1:
            numbers += f", {self.between_channels:.2f} between channels"
        weak = ", or too weak to tell from texture" if self.strength < STRONG else ""
        found = "shared by neighbours" if self.correlated else f"independent from pixel to pixel{weak}"
        way = "noise of that shape" if treated_as_correlated else "independent noise"
        return f"The noise of the set is {found} ({numbers}); it is treated as {way}."

    def _own(self, down: int, across: int) -> float:
        return float(np.diagonal(self.correlation[:, :, REACH + down, REACH + across]).mean())


def knows_shared_noise(card: dict[str, Any]) -> bool:
    """Whether a model was made for noise that neighbours share."""
    noise = card.get("noise") or {}
    return noise.get("recipe") == "camera" or bool((noise.get("shape") or {}).get("correlated"))


def measure(
    base: Denoiser,
    images: Sequence[Pixels],
    scaling: Normalisation,
    after_read: Callable[[], None] = lambda: None,
) -> NoiseShape:
    """The shape of a set's noise, from the middle of some of its images (C, H, W)."""
    step = max(1, len(images) // PROBED)
    windows = []
    for image in images[::step][:PROBED]:
        windows.append(scaling.to_unit(np.array(image[:, *(_middle(side) for side in image.shape[1:])])))
        after_read()
    if knows_shared_noise(base.card):
        return _at(base, windows, 1)
    found = _at(base, windows, STRIDES[0])
    return _at(base, windows, STRIDES[1]) if abs(found.two_away) >= SPILLS else found


def _middle(side: int) -> slice:
    start = max(0, (side - WINDOW) // 2)
    return slice(start, start + WINDOW)


def _at(base: Denoiser, windows: Sequence[Floats], stride: int) -> NoiseShape:
    """Measured with the pixels of every `stride`-th row and column shown together."""
    channels = len(windows[0])
    power: list[float] = []
    sums, counts = np.zeros((channels, channels, REACH + 1, 2 * REACH + 1)), np.zeros((REACH + 1, 2 * REACH + 1))
    for window in windows:
        mean = np.empty_like(window)
        for down in range(stride):
            for across in range(stride):
                mean[:, down::stride, across::stride] = infer(base, window[:, down::stride, across::stride])[0]
        residual, flat = window - mean, _flat(mean)
        variance = (residual**2 * flat).sum((1, 2), keepdims=True) / flat.sum()
        power.append(float(variance.mean()))
        residual = residual / np.maximum(np.sqrt(variance), 1e-8)
        _count(residual, flat, sums, counts)
    covariance = _whole(sums / np.maximum(counts, 1.0))
    scale = np.sqrt(np.maximum(np.diagonal(covariance[:, :, REACH, REACH]), 1e-12))
    return NoiseShape(covariance / np.outer(scale, scale)[..., None, None], stride, float(np.sqrt(np.mean(power))))


def infer(base: Denoiser, unit: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and variance of a crop (C, H, W) of any size."""
    height, width = unit.shape[1:]
    sides = [(0, tiling.padded_side(side, base.network.stride) - side) for side in (height, width)]
    mean, variance = base.infer(np.pad(unit, [(0, 0), *sides], mode="symmetric"))
    return mean[:, :height, :width], variance[:, :height, :width]


def _flat(mean: Floats) -> Floats:
    """1 in the flattest pixels of an image (C, H, W), as (H, W)."""
    planes = torch.from_numpy(np.ascontiguousarray(mean))[None]
    spread = (_box(planes**2) - _box(planes) ** 2).sum(1)[0].numpy()
    return np.asarray(spread <= np.quantile(spread, FLATTEST), np.float32)


def _box(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, BOX, 1, BOX // 2, count_include_pad=False)


def _count(residual: Floats, flat: Floats, sums: Doubles, counts: Doubles) -> None:
    """Add the products of all lags down to `REACH`."""
    _, height, width = residual.shape
    for down in range(min(REACH + 1, height)):
        for across in range(-REACH, REACH + 1):
            here = slice(down, None), slice(max(across, 0), width + min(across, 0))
            there = slice(0, height - down), slice(max(-across, 0), width - max(across, 0))
            both = flat[here] * flat[there]
            counts[down, across + REACH] += both.sum()
            products = np.einsum("chw,dhw,hw->cd", residual[:, *there], residual[:, *here], both, optimize=True)
            sums[:, :, down, across + REACH] += products


def _whole(half: Doubles) -> Doubles:
    """All lags of those downwards: R_cd(−lag) = R_dc(lag)."""
    channels = len(half)
    found = np.zeros((channels, channels, 2 * REACH + 1, 2 * REACH + 1))
    found[:, :, REACH:] = half
    found[:, :, :REACH] = half[:, :, 1:].swapaxes(0, 1)[:, :, ::-1, ::-1]
    found[:, :, REACH, :REACH] = half[:, :, 0, REACH + 1 :].swapaxes(0, 1)[:, :, ::-1]
    return found
