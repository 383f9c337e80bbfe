"""The Poisson-Gaussian noise model (Blind2Sound eq. 1): y = α·Poisson(x/α) + N(0, σ²), Var[y|x] = α·x + σ².

α and σ are in the normalised units of the image, x in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
NoiseName = Literal["PG1", "PG2", "PG3", "blind", "none"]


@dataclass(frozen=True)
class PoissonGaussian:
    """One noise level: gain `alpha` > 0 (0 turns the Poisson part off) and read noise `sigma` ≥ 0."""

    alpha: float
    sigma: float

    def add(self, clean: Array, rng: np.random.Generator | np.random.RandomState) -> Array:
        """A noisy draw of `clean` (any shape, float in [0, 1]); never clipped, never quantised."""
        noisy: NDArray[np.float64] = clean.astype(np.float64)
        if self.alpha > 0:
            noisy = self.alpha * rng.poisson(np.maximum(noisy, 0) / self.alpha).astype(np.float64)
        if self.sigma > 0:
            noisy = noisy + rng.normal(0.0, self.sigma, clean.shape)
        return noisy.astype(np.float32)


LEVELS = {
    "PG1": PoissonGaussian(0.01, 0.0002),
    "PG2": PoissonGaussian(0.01, 0.02),
    "PG3": PoissonGaussian(0.05, 0.02),
    "none": PoissonGaussian(0.0, 0.0),
}

BLIND_ALPHA = (0.0005, 0.08)
BLIND_SIGMA = (0.0, 0.1)


def draw_level(name: NoiseName, rng: np.random.Generator) -> PoissonGaussian:
    """The level called `name`; `blind` draws one from the whole range the base models cover.

    Blind draws: α log-uniform in `BLIND_ALPHA`; σ nearly 0 in a third of the draws (most sensors are limited by shot
    noise) and skewed to small values up to `BLIND_SIGMA` in the rest; one draw in twenty has no noise at all, so that a
    clean image is left alone.

    Raises:
        ValueError: no level of that name.
    """
    if name != "blind":
        if name not in LEVELS:
            raise ValueError(f"unknown noise {name!r}: choose one of {', '.join(LEVELS)} or blind")
        return LEVELS[name]
    if rng.random() < 0.05:
        return LEVELS["none"]
    low, high = np.log(BLIND_ALPHA)
    alpha = float(np.exp(rng.uniform(low, high)))
    sigma = rng.uniform(0, 0.005) if rng.random() < 1 / 3 else BLIND_SIGMA[1] * rng.random() ** 1.5
    return PoissonGaussian(alpha, float(sigma))
