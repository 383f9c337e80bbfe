"""A camera: mosaic, shot and read noise, demosaicking, white balance, colour matrix, its own smoothing, tone curve.

Ranges follow what phone and system cameras publish in their DNG files; noise against gain as in Brooks et al.,
"Unprocessing Images for Learned Raw Denoising" (CVPR 2019), §3.1, widened to weaker light.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from model.synthesis.filters import Array, filtered, gaussian_kernel, resized, to_linear, to_srgb
from model.synthesis.noises import Pair, clipped_mean, poisson
from model.synthesis.ranges import LogUniform, Mixture, Range, Uniform, happens

Demosaick = Callable[[Array], Array]

_CROSS: Array = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / np.float32(4)
_SQUARE: Array = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / np.float32(4)

# Malvar, He, Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color images"
# (ICASSP 2004), fig. 2.
_GREEN: Array = np.array(
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]], np.float32
) / np.float32(8)
_SAME_ROW: Array = np.array(
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]], np.float32
) / np.float32(8)
_DIAGONAL: Array = np.array(
    [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]], np.float32
) / np.float32(8)

_COLOUR_MATRIX = np.array([[1.6, -0.45, -0.15], [-0.25, 1.5, -0.25], [0.0, -0.5, 1.5]], np.float32)  # a typical one


def mosaic(image: Array) -> Array:
    """(3, H, W) seen through an RGGB filter: (1, H, W)."""
    out = image[1:2].copy()
    out[0, 0::2, 0::2] = image[0, 0::2, 0::2]
    out[0, 1::2, 1::2] = image[2, 1::2, 1::2]
    return out


def bilinear(raw: Array) -> Array:
    """(1, H, W) RGGB to (3, H, W): each colour interpolated by itself."""
    planes = np.zeros((3, *raw.shape[1:]), np.float32)
    planes[0, 0::2, 0::2] = raw[0, 0::2, 0::2]
    planes[1, 0::2, 1::2] = raw[0, 0::2, 1::2]
    planes[1, 1::2, 0::2] = raw[0, 1::2, 0::2]
    planes[2, 1::2, 1::2] = raw[0, 1::2, 1::2]
    return np.concatenate([filtered(planes[:1], _SQUARE), filtered(planes[1:2], _CROSS), filtered(planes[2:], _SQUARE)])


def malvar(raw: Array) -> Array:
    """(1, H, W) RGGB to (3, H, W) by Malvar's gradient-corrected filters."""
    green, row, column, diagonal = (filtered(raw, k)[0] for k in (_GREEN, _SAME_ROW, _SAME_ROW.T, _DIAGONAL))
    out = np.repeat(raw, 3, 0)
    out[1, 0::2, 0::2], out[1, 1::2, 1::2] = green[0::2, 0::2], green[1::2, 1::2]
    out[0, 0::2, 1::2], out[0, 1::2, 0::2] = row[0::2, 1::2], column[1::2, 0::2]
    out[2, 1::2, 0::2], out[2, 0::2, 1::2] = row[1::2, 0::2], column[0::2, 1::2]
    out[0, 1::2, 1::2], out[2, 0::2, 0::2] = diagonal[1::2, 1::2], diagonal[0::2, 0::2]
    return out


def half_size(raw: Array) -> Array:
    """(1, H, W) RGGB to (3, H, W): one colour of each 2 × 2 cell, enlarged, as binning sensors give."""
    cell = np.stack([raw[0, 0::2, 0::2], (raw[0, 0::2, 1::2] + raw[0, 1::2, 0::2]) / 2, raw[0, 1::2, 1::2]])
    return resized(cell, raw.shape[1], raw.shape[2])


def random_linear(raw: Array, rng: np.random.Generator) -> Array:
    """Between bilinear and gradient-corrected, sometimes beyond: an algorithm nobody published."""
    share = np.float32(rng.uniform(-0.3, 1.3))
    return share * malvar(raw) + (1 - share) * bilinear(raw)


@dataclass(frozen=True)
class Camera:
    """A random camera. The mean of many raw frames, developed, is what the network is to give.

    Attributes:
        exposure: factor on the scene's light; the camera's gain amplifies the little light.
        shot: variance of the raw signal over the signal, at full scale 1.
        read: offset and spread of ln σ² about 2.18·ln(shot) + 1.2 (Brooks et al., eq. 5).
        kept_mosaic: share of cameras without a mosaic (three sensors, or scaled far down).
        smoothing, sharpening: shares of cameras that do so, and by how much.
        rescaling: share of cameras whose picture was scaled, and the factor.
    """

    exposure: Range = LogUniform(0.03, 1.0)
    shot: Range = LogUniform(3e-4, 0.15)
    read_spread: float = 0.7
    largest_read: float = 0.35
    demosaicking: Mixture[str] = field(
        default_factory=lambda: Mixture(
            [(0.2, "bilinear"), (0.2, "malvar"), (0.3, "random"), (0.1, "half"), (0.2, "none")]
        )
    )
    red_gain: Range = Uniform(1.4, 2.4)
    blue_gain: Range = Uniform(1.4, 2.2)
    colour: Range = Uniform(0.0, 0.8)
    clipped_raw: float = 0.7
    smoothing: float = 0.25
    smoothing_width: Range = Uniform(0.4, 1.0)
    sharpening: float = 0.2
    sharpening_amount: Range = Uniform(0.0, 1.2)
    rescaling: float = 0.3
    rescaling_factor: Range = Uniform(0.6, 1.6)

    def __call__(self, scene: Array, rng: np.random.Generator) -> Pair:
        matrix = np.eye(3, dtype=np.float32)
        matrix += np.float32(self.colour.draw(rng)) * (_COLOUR_MATRIX - matrix)
        gains = np.array([self.red_gain.draw(rng), 1.0, self.blue_gain.draw(rng)], np.float32)[:, None, None]
        light = to_linear(scene) * np.float32(self.exposure.draw(rng))
        raw = np.clip(np.einsum("ij,jhw->ihw", np.linalg.inv(matrix), light) / gains, 0, 1).astype(np.float32)
        name = self.demosaicking.draw(rng)
        seen = raw if name == "none" else mosaic(raw)
        noisy, mean = self.expose(seen, rng)
        demosaick = self._demosaick(name, rng)

        def develop(planes: Array) -> Array:
            return to_srgb(np.clip(np.einsum("ij,jhw->ihw", matrix, demosaick(planes) * gains), 0, 1))

        return self._finish(develop(noisy), develop(mean), rng)

    def expose(self, raw: Array, rng: np.random.Generator) -> Pair:
        """A raw frame with shot and read noise, and the mean of many such frames."""
        shot = self.shot.draw(rng)
        read = np.exp(0.5 * (2.18 * np.log(shot) + 1.2 + rng.normal(0, self.read_spread)))
        gain, sigma = np.float32(shot), np.float32(min(read, self.largest_read))
        noisy = gain * poisson(raw / gain, rng) + sigma * rng.standard_normal(raw.shape, np.float32)
        if not happens(self.clipped_raw, rng):
            return Pair(noisy, raw)
        return Pair(np.clip(noisy, 0, 1), clipped_mean(raw, np.sqrt(gain * raw + sigma**2)))

    def _demosaick(self, name: str, rng: np.random.Generator) -> Demosaick:
        if name == "random":
            seed = int(rng.integers(1 << 31))  # the same algorithm for the noisy and the clean frame
            return lambda raw: random_linear(raw, np.random.default_rng(seed))
        return {"bilinear": bilinear, "malvar": malvar, "half": half_size, "none": lambda planes: planes}[name]

    def _finish(self, noisy: Array, clean: Array, rng: np.random.Generator) -> Pair:
        if happens(self.smoothing, rng):
            taps = gaussian_kernel(self.smoothing_width.draw(rng))
            noisy = filtered(noisy, taps[:, None] * taps[None, :])
        elif happens(self.sharpening, rng):
            taps = gaussian_kernel(1.0)
            amount = np.float32(self.sharpening_amount.draw(rng))
            noisy = np.clip(noisy + amount * (noisy - filtered(noisy, taps[:, None] * taps[None, :])), 0, 1)
        if happens(self.rescaling, rng):
            noisy, clean = self._rescale(noisy, clean, rng)
        return Pair(noisy, clean)

    def _rescale(self, noisy: Array, clean: Array, rng: np.random.Generator) -> Pair:
        """Scaled, and the middle (repeated by reflection where it shrank) cut out at the old size."""
        _, height, width = noisy.shape
        factor = self.rescaling_factor.draw(rng)
        new = (max(8, round(height * factor)), max(8, round(width * factor)))
        grow = [(0, 0)] + [(0, max(0, old - side)) for old, side in zip((height, width), new, strict=True)]
        scaled = [np.pad(resized(plane, *new), grow, "symmetric")[:, :height, :width] for plane in (noisy, clean)]
        return Pair(*(np.clip(plane, 0, 1) for plane in scaled))
