"""PSNR and SSIM of the shipped models by the paper's protocol, and how well the noise is estimated.

python -m benchmarks.quality --data DIR     # DIR/clean/{set12,bsd68,kodak24}
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lab.evaluate import SEED, against_clean
from lab.files import image_files, page
from model.arrays.pixels import full_scale, to_channels
from model.inference.denoiser import Denoiser
from model.noise.poisson_gaussian import LEVELS

LEVEL_NAMES = ("PG1", "PG2", "PG3")


def scores(data: Path, model: str, sets: list[str], levels: tuple[str, ...]) -> None:
    denoiser = Denoiser.load(model)
    print(f"\n{model} (sha256 {denoiser.sha256[:12]})\n\n| set | {' | '.join(levels)} |\n|---|{'---|' * len(levels)}")
    for name in sets:
        cells = [against_clean(denoiser, data / "clean" / name, level) for level in levels]
        print(f"| {name} | {' | '.join(f'{s.psnr:.2f} / {s.ssim:.3f}' for s in cells)} |", flush=True)


def estimates(data: Path, folder: str) -> None:
    """Median of the estimated (α, σ) over a folder."""
    denoiser = Denoiser.load("base-gray")
    print(f"\nNoise estimates on {folder}\n\n| level | true (alpha, sigma) | median estimate |\n|---|---|---|")
    for name in LEVEL_NAMES:
        level, rng, found = LEVELS[name], np.random.RandomState(SEED), []
        for path in image_files(data / "clean" / folder):
            pixels = to_channels(page(path), 1)[0]
            noisy = level.add(pixels.astype(np.float32) / np.float32(full_scale(pixels.dtype)), rng)
            report = denoiser.denoise_with_report(noisy, normalize="none")[1]
            assert report is not None
            found.append((report.alpha, report.sigma))
        alpha, sigma = np.median(found, axis=0)
        print(f"| {name} | {level.alpha}, {level.sigma} | {alpha:.5f}, {sigma:.5f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    scores(options.data, "base-gray", ["set12", "bsd68"], (*LEVEL_NAMES, "none"))
    scores(options.data, "base-rgb", ["kodak24"], LEVEL_NAMES)
    estimates(options.data, "bsd68")
