"""Camera RAW mosaics made of photographs, for the RAW protocol where SIDD is not at hand.

    python -m benchmarks.simulated_raw PHOTOGRAPHS OUT --level PG1
    python -m lab train OUT/noisy runs/raw --channels 4 --objective blind2sound --minutes 30
    python -m lab evaluate --weights runs/raw/weights.safetensors --images OUT/noisy --reference OUT/clean

Photographs are taken to linear light (sRGB's curve, IEC 61966-2-1), each site of an RGGB cell keeps one colour, and
shot and read noise are drawn: `OUT/noisy/NAME.npy` and `OUT/clean/NAME.npy`, float32, (H, W).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.files import image_files, page
from model.arrays.pixels import full_scale, to_channels
from model.noise.poisson_gaussian import LEVELS

RGGB = ((0, 1), (1, 2))
EXPOSURE = 0.5  # sensors are exposed with room above


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--level", default="PG1", choices=[name for name in LEVELS if name != "none"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    for name in ("noisy", "clean"):
        (options.out / name).mkdir(parents=True, exist_ok=True)
    files = image_files(options.photographs)
    for path in files:
        pixels = page(path)
        clean = mosaic(to_channels(pixels, 3).astype(np.float32) / full_scale(pixels.dtype))
        np.save(options.out / "clean" / f"{path.stem}.npy", clean)
        np.save(options.out / "noisy" / f"{path.stem}.npy", LEVELS[options.level].add(clean, rng))
    print(f"{len(files)} mosaics in {options.out}")


def mosaic(photograph: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3, H, W), 0 … 1 with sRGB's curve, as a sensor behind RGGB filters sees it: (H, W), H and W even."""
    low = photograph / 12.92
    linear = EXPOSURE * np.where(photograph <= 0.04045, low, ((photograph + 0.055) / 1.055) ** 2.4)
    height, width = (side // 2 * 2 for side in photograph.shape[1:])
    out = np.empty((height, width), np.float32)
    for row in (0, 1):
        for column in (0, 1):
            out[row::2, column::2] = linear[RGGB[row][column], row:height:2, column:width:2]
    return out


if __name__ == "__main__":
    main()
