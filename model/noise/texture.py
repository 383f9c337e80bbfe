"""Whether squares that are alike from pixel to pixel show texture or noise that neighbours share.

Both are smoother than white noise. Noise is shared over a few pixels, so that it is white again over longer distances;
a texture's power rises towards low frequencies octave by octave (Field, "Relations between the statistics of natural
images and the response properties of cortical cells", JOSA A 1987).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OCTAVES = (1 / 16, 1 / 8, 1 / 4)  # cycles a pixel, at which each begins
QUIETEST = 0.05  # quantile of the squares: what nearly all of them have
STEADY = 0.45  # of the upper fall the lower one is, in logarithms. Textures: from 0.55 on; correlated noise: up to 0.35


def is_texture(squares: NDArray[np.float64]) -> bool:
    """Whether the power of squares (n, s, s) falls from octave to octave even in the quietest of them."""
    side = squares.shape[1]
    cosines = _cosines(side)
    power = (cosines @ squares @ cosines.T) ** 2
    frequency = np.hypot(*np.mgrid[:side, :side]) / (2 * side)
    low, middle, high = (
        float(np.quantile(power[:, (frequency > 0.9 * start) & (frequency < 1.98 * start)].mean(1), QUIETEST))
        for start in OCTAVES
    )
    if high <= 0 or low <= 0:
        return True
    return float(np.log(low / middle)) > STEADY * float(np.log(middle / high))


def _cosines(side: int) -> NDArray[np.float64]:
    """The discrete cosine transform (type II), orthonormal."""
    place = np.arange(side)
    found: NDArray[np.float64] = np.cos(np.pi * (2 * place[None] + 1) * place[:, None] / (2 * side)) * (2 / side) ** 0.5
    found[0] /= 2**0.5
    return found
