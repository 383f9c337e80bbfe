"""Which frames show one scene: how alike neighbouring frames are, over kinds of motion and noise, and unrelated ones.

    python -m benchmarks.likeness --data DIR

Told is the median likeness of neighbouring frames (`Motions.direct`), by which `frames=auto` decides
(`related_frames.ALIKE`), of scenes of DIR/real/w2s and DIR/clean/bsds432, 256 pixels a side. Related: the scene drifts,
jumps, turns, breathes (each part moves its own way), fades, comes into focus, or consists of spots that walk by
themselves. Unrelated: other fields of one sample, other photographs, other parts of one image, noise alone. Each at
three noise levels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from model.arrays.normalise import IDENTITY
from model.finetuning import related_frames
from model.frames.series import Motions, Series
from model.noise.poisson_gaussian import LEVELS

Floats = NDArray[np.float32]
SIDE, FRAMES = 256, 7
DRIFTS = (0.2, 1, 3, 8, 16)  # pixels a frame
TURNS = (0.2, 1, 3)  # degrees a frame
BREATHS = (0.5, 2, 5)  # pixels
FOCUS = (0.3, 1.0)  # pixels of blur that a frame adds
WALKS = (0.5, 2, 6)  # pixels a frame


def _scenes(data: Path) -> dict[str, list[Floats]]:
    """Images larger than a frame, in [0, 1]."""
    fields = sorted((data / "real/w2s/reference").glob("*_1.tif"))[:FRAMES]
    photographs = sorted((data / "clean/bsds432").iterdir())[:FRAMES]
    return {
        "w2s": [tifffile.imread(path).astype(np.float32) / 255 for path in fields],
        "bsds": [np.asarray(Image.open(path).convert("L"), np.float32) / 255 for path in photographs],
    }


def related(scene: Floats, rng: np.random.Generator) -> Iterator[tuple[str, list[Floats]]]:
    """Frames of one scene without noise, by the name of what happens in it."""
    for drift in DRIFTS:
        yield f"drift {drift}", [_cut(ndimage.shift(scene, (0, drift * i), order=3, mode="reflect")) for i in _times()]
    for turn in TURNS:
        yield (
            f"turn {turn} deg",
            [_cut(ndimage.rotate(scene, turn * i, reshape=False, mode="reflect")) for i in _times()],
        )
    for size in BREATHS:
        yield f"breathe {size}", [_cut(_warped(scene, size, rng)) for _ in _times()]
    yield "fade 10 %", [_cut(scene) * np.float32(0.9**i) for i in range(FRAMES)]
    for blur in FOCUS:
        yield f"defocus {blur}", [_cut(ndimage.gaussian_filter(scene, blur * i)) for i in range(FRAMES)]
    for step in WALKS:
        yield f"spots walk {step}", list(_walk(step, rng))


def unrelated(scenes: list[Floats], rng: np.random.Generator) -> Iterator[tuple[str, list[Floats]]]:
    """Frames that show other things, by what they are."""
    yield "other fields", [_cut(one) for one in scenes]
    top, left = (scenes[0].shape[axis] - SIDE // 2 for axis in (0, 1))
    corners = [(0, 0), (0, left), (top, 0), (top, left)]
    yield "other parts", [scenes[0][y : y + SIDE // 2, x : x + SIDE // 2] for y, x in corners]
    yield "spots anew", [next(iter(_walk(0, rng))) for _ in range(FRAMES)]
    yield "nothing", [np.full((SIDE, SIDE), 0.3, np.float32)] * FRAMES


def likeness(frames: list[Floats], level: str, rng: np.random.Generator) -> float:
    """The median over neighbouring frames once noise was added."""
    noise = LEVELS[level]
    images = [noise.add(one.clip(0, 1), rng)[None].astype(np.float32) for one in frames]
    motions = Motions(images, Series([range(len(images))]), IDENTITY, lambda _: np.zeros((1, 4), np.float32))
    return float(np.median([motions.direct(i, i + 1).likeness for i in range(len(images) - 1)]))


def _times() -> range:
    return range(-(FRAMES // 2), FRAMES // 2 + 1)


def _cut(image: Floats) -> Floats:
    top, left = ((side - SIDE) // 2 for side in image.shape)
    return np.asarray(image[top : top + SIDE, left : left + SIDE], np.float32)


def _warped(image: Floats, size: float, rng: np.random.Generator) -> Floats:
    """Each part moved its own way, by `size` pixels (standard deviation)."""
    away = ndimage.gaussian_filter(rng.normal(size=(2, *image.shape)), (0, 24, 24))
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + size * away / away.std()
    return np.asarray(ndimage.map_coordinates(image, [rows, columns], order=1, mode="reflect"))


def _walk(step: float, rng: np.random.Generator) -> Iterator[Floats]:
    """Spots that each go their own way."""
    places = rng.uniform(0, SIDE, (80, 2))
    for _ in range(FRAMES):
        lit = np.zeros((SIDE, SIDE), np.float32)
        np.add.at(lit, tuple((places % SIDE).astype(int).T), 1)
        yield (0.1 + 12 * ndimage.gaussian_filter(lit, 2, mode="wrap")).astype(np.float32)
        places += rng.normal(0, step / np.sqrt(2), places.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--levels", nargs="+", default=["PG1", "PG3"])
    options = parser.parse_args()
    for name, scenes in _scenes(options.data).items():
        rng = np.random.default_rng(0)
        cases = [(what, frames, True) for what, frames in related(scenes[0], rng)]
        cases += [(what, frames, False) for what, frames in unrelated(scenes, rng)]
        for what, frames, one in cases:
            found = {level: round(likeness(frames, level, rng), 2) for level in options.levels}
            taken = {level: value >= related_frames.ALIKE for level, value in found.items()}
            right = all(value == one for value in taken.values())
            print(json.dumps({"scene": name, "frames": what, "one_scene": one, **found, "right": right}), flush=True)


if __name__ == "__main__":
    main()
