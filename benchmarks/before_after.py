"""Draw the README's picture: left as it came, right denoised by the base model that the service takes.

    pip install --no-deps --target PEERS stardist scikit-image
    python -m benchmarks.before_after --packages PEERS --out docs/before-after.png

Above, nuclei under a fluorescence microscope with the noise of its camera: BBBC038v1 (the 2018 Data Science Bowl,
Caicedo et al., Nature Methods 16, 2019; public domain), as stardist ships it. Below, a photograph (Stefan van der
Walt, CC0), as scikit-image ships it, with the noise of few photons added: Var = α·x + σ².
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lab.choice import Denoisers
from lab.files import page

NUCLEI, PHOTOGRAPH = Path("stardist/data/images/img2d.tif"), Path("skimage/data/chelsea.png")
NUCLEI_CROP, PHOTOGRAPH_CROP = (150, 0), (55, 75)  # upper left corner: row, column
HEIGHT, WIDTH, ENLARGED = 170, 240, 2
ALPHA, SIGMA = 0.03, 0.03
BLACK, WHITE, GAMMA = 0.5, 99.0, 0.7  # percentiles of the upload, for both sides; dim nuclei beside dividing ones

Picture = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="where stardist and scikit-image are installed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    denoisers = Denoisers(None, "cpu")
    rows = []
    for noisy, corner in (
        (page(options.packages / NUCLEI), NUCLEI_CROP),
        (few_photons(page(options.packages / PHOTOGRAPH), options.seed), PHOTOGRAPH_CROP),
    ):
        denoiser = denoisers.for_pixels(noisy)
        print(f"{noisy.shape} {noisy.dtype} by {denoiser.name}")
        shown = (eight_bits(pixels, noisy) for pixels in (noisy, denoiser.denoise(noisy)))
        rows.append(np.concatenate([crop(picture, corner) for picture in shown], 1))
    both = Image.fromarray(np.concatenate(rows, 0))
    both.resize((both.width * ENLARGED, both.height * ENLARGED), Image.Resampling.NEAREST).save(options.out)


def few_photons(clean: Picture, seed: int) -> Picture:
    """The photograph as so little light would have given it, 8 bits."""
    rng = np.random.default_rng(seed)
    light = clean / 255
    noisy = ALPHA * rng.poisson(light / ALPHA) + rng.normal(0, SIGMA, light.shape)
    return np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def eight_bits(pixels: NDArray[np.generic], upload: NDArray[np.generic]) -> Picture:
    """(H, W, 3) to look at, of (H, W, C): photographs as they are, other images by the upload's percentiles."""
    if pixels.shape[-1] == 3:
        return pixels.astype(np.uint8)
    black, white = np.percentile(upload, (BLACK, WHITE))
    stretched = np.clip((pixels.astype(np.float64) - black) / (white - black), 0, 1) ** GAMMA
    return np.repeat(np.rint(stretched * 255).astype(np.uint8), 3, axis=2)


def crop(picture: Picture, corner: tuple[int, int]) -> Picture:
    """The part that is shown."""
    row, column = corner
    return picture[row : row + HEIGHT, column : column + WIDTH]


if __name__ == "__main__":
    main()
