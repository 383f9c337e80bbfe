"""Draw what the base models are trained on: `python -m benchmarks.contact_sheet --images DIR --out sheet.png`.

One row a recipe's draw after another, each pair noisy beside clean, as the network sees them (cut to [0, 1]).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lab.training_set import read_training_set
from model.synthesis import recipes

COLUMNS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of clean photographs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=recipes.RECIPES, default="camera")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recipe = recipes.build(options.recipe, read_training_set(options.images, recipes.CHANNELS[options.recipe]))
    rng = np.random.default_rng(options.seed)
    tiles = [tile(*recipe.pair(options.side, rng)) for _ in range(options.pairs)]
    rows = [np.concatenate(tiles[i : i + COLUMNS], 1) for i in range(0, len(tiles) // COLUMNS * COLUMNS, COLUMNS)]
    Image.fromarray(np.concatenate(rows, 0)).save(options.out)


def tile(noisy: NDArray[np.float32], clean: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(C, H, W) twice to (H, 2·W, 3), 8 bits."""
    both = np.rint(np.clip(np.concatenate([noisy, clean], 2), 0, 1) * 255).astype(np.uint8)
    return np.broadcast_to(both, (3, *both.shape[1:])).transpose(1, 2, 0)


if __name__ == "__main__":
    main()
