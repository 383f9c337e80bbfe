"""The noise line of every image of a set: variance against signal, a channel.

One sensor at one setting has one line, which all images together show best. A set of images that were each rescaled by
themselves has as many lines as images. Which of the two a set is, its images tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels
from model.finetuning.noise_shape import infer
from model.inference.denoiser import Denoiser
from model.noise.noise_curve import NoiseCurve, NoiseFit

WINDOW = 256
WINDOWS_A_SIDE = 3  # read of an image; smaller images are read whole
PROBED = 24  # images looked at to tell one line from many
ALIKE = 0.06  # spread of the images' noise std, as a share of it, up to which they have one line
USUAL = 0.005  # share of the pixels that a level must have
FLOOR = 0.5
Line = NDArray[np.float32]


class NoiseLines:
    """Lines of the images of a set, estimated from the base model's posterior when first asked for.

    Args:
        base: the denoiser whose residuals show the noise.
        images: (C, H, W) each.
        scaling: file values to normalised units.
        stride: of the pixels that are shown to the base together, where neighbours share their noise.
        after_read: called when an image has been read, so that its owner can let go of mapped pages.

    Attributes:
        pooled: the fit of all probed images together, one a channel.
        shared: whether one line holds for all.
    """

    def __init__(
        self, base: Denoiser, images: Sequence[Pixels], scaling: Normalisation,
        after_read: Callable[[], None] = lambda: None, stride: int = 1,
    ) -> None:  # fmt: skip
        self._stride = stride
        self._base, self._images, self._scaling, self._after_read = base, images, scaling, after_read
        self._cache: dict[int, Line] = {}
        step = max(1, len(images) // PROBED)
        probed = range(0, len(images), step)
        curves = [self._curves(i) for i in probed]
        together = [NoiseCurve() for _ in curves[0]]
        for channels in curves:
            for pool, curve in zip(together, channels, strict=True):
                pool.merge(curve)
        self.pooled: list[NoiseFit] = [pool.fit() for pool in together]
        fits = [[curve.fit() for curve in channels] for channels in curves]
        self.shared = _alike(fits, self.pooled)
        self._line = self._lines(self.pooled)
        if not self.shared:
            self._cache = {i: self._lines(found) for i, found in zip(probed, fits, strict=True)}

    def __getitem__(self, index: int) -> Line:
        """(C, 4), the line of image `index` as `thinning.variance_at` takes it."""
        if self.shared:
            return self._line
        if index not in self._cache:
            self._cache[index] = self._lines([curve.fit() for curve in self._curves(index)])
        return self._cache[index]

    def _lines(self, fits: Sequence[NoiseFit]) -> Line:
        zero = -self._scaling.offset / self._scaling.scale
        return np.array([(f.alpha, f.sigma**2 - f.alpha * f.black, _floor(f), zero) for f in fits], np.float32)

    def _curves(self, index: int) -> list[NoiseCurve]:
        """The noise curve of each channel of an image, from the whole of it or a grid of windows."""
        image = self._images[index]
        curves = [NoiseCurve() for _ in range(image.shape[0])]
        for rows in _windows(image.shape[1]):
            for columns in _windows(image.shape[2]):
                unit = self._scaling.to_unit(image[:, rows, columns])
                for down in range(self._stride):
                    for across in range(self._stride):
                        shown = unit[:, down :: self._stride, across :: self._stride]
                        mean, variance = infer(self._base, shown)
                        for c, curve in enumerate(curves):
                            curve.add(shown[c], mean[c], variance[c])
        self._after_read()
        return curves


def _windows(side: int) -> list[slice]:
    """Where to read along one side."""
    if side <= WINDOW * WINDOWS_A_SIDE:
        return [slice(0, side)]
    starts = np.linspace(0, side - WINDOW, WINDOWS_A_SIDE).astype(int).tolist()
    return [slice(start, start + WINDOW) for start in starts]


def _floor(fit: NoiseFit) -> float:
    """Half the smallest variance that was measured at a usual level: a line that is a little too steep must not tell
    dark pixels that they have no noise."""
    usual = fit.count >= USUAL * fit.count.sum()
    return FLOOR * float(fit.variance[usual].min()) if usual.any() else 0.0


def _alike(fits: Sequence[Sequence[NoiseFit]], pooled: Sequence[NoiseFit]) -> bool:
    """Whether every image's line says about what the pooled one says, at that image's own signal levels."""
    ratios = []
    for channels in fits:
        for fit, pool in zip(channels, pooled, strict=True):
            if fit.count.size:
                here = np.average(fit.variance, weights=fit.count)
                there = np.average(pool.variance_at(fit.mean), weights=fit.count)
                ratios.append(np.sqrt(here / max(there, 1e-12)))
    return bool(ratios) and float(np.std(ratios)) <= ALIKE
