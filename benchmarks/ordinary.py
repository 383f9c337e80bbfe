"""How many ordinary images are taken for mosaics, for images with gaps, or for noisy lines? None should be.

    python -m benchmarks.ordinary --data DIR [--images 400] [--first 0] [--show FOLDER]

Whole photographs of DIR (gray and RGB), and drawn images over pieces of them (`tests/harness/ordinary_images.py`).
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from images.mosaic_search import has_mosaic
from model.arrays.missing import find
from model.inference.line_step import added
from tests.harness.ordinary_images import draw

FOLDERS = ("clean/bsd68", "clean/set12", "clean/cbsd68", "clean/kodak24", "real/sidd12", "real/sixteen_bit")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--images", type=int, default=400, help="how many are drawn")
    options.add_argument("--first", type=int, default=0, help="seed of the first that is drawn")
    options.add_argument("--show", type=Path, help="folder for what is changed")
    given = options.parse_args()
    seen, changed = Counter[str](), Counter[str]()

    def look(kind: str, name: str, image: NDArray[Any]) -> None:
        seen[kind] += 1
        for step in steps(image):
            changed[f"{kind}, {step}"] += 1
            print(f"{name}: {step}")
            if given.show:
                given.show.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.squeeze().astype(np.uint8)).save(given.show / f"{name}, {step}.png")

    grays = []
    for folder in FOLDERS:
        for path in sorted((given.data / folder).glob("*.png")):
            image = np.asarray(Image.open(path))
            look(folder, f"{path.parent.name}-{path.stem}", image)
            if folder == "clean/bsd68":
                grays.append(image)
    for seed in range(given.first, given.first + given.images):
        kind, image = draw(seed, grays)
        look(kind, f"{kind}-{seed}", image)
    print(f"{sum(seen.values())} images, {sum(changed.values())} changed", *changed.items(), sep="\n    ")


def steps(image: NDArray[Any]) -> list[str]:
    """Which steps would change an image (H, W) or (H, W, 3)."""
    stack = image[None] if image.ndim == 3 else image[None, :, :, None]
    missing = find(stack)
    found = ["gaps"] if missing.found and missing.of(0, stack[0]) is not None else []
    found += ["lines"] if added(stack[0], "auto") is not None else []
    return found + (["mosaic"] if stack.shape[-1] == 1 and has_mosaic(stack[..., 0]) else [])


if __name__ == "__main__":
    main()
