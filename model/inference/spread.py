"""How certain the noise estimate of an image is, from pieces of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.inference.denoiser import Denoiser

Array = NDArray[Any]


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
