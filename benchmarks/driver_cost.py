"""CPU time a megapixel that the driver's steps take beside the network: each by itself, and a request on against off.

    python -m benchmarks.driver_cost [--side 1024] [--rounds 7]

Steps are those that keep every pixel right (gaps, lines, exposures, holding back, rounding, kind of noise, regions).
Off, each of them finds nothing at once. The network's answers are recorded before, so that its own time, which varies
more than all of them, is in neither; rounds with and without take turns, one thread, the least of all rounds.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from images import mosaic_search
from model import Denoiser
from model.arrays.missing import Missing
from model.inference import denoiser as driver
from model.inference import exposures, line_step, restraint
from model.inference.backend import Posterior
from model.inference.rounding import Rounder
from model.noise import noise_kind, noise_level
from model.noise.noise_kind import NoiseKind
from model.report.held import Held
from model.report.regions import Regions
from tests.harness.random_scenes import fractal

Array = np.ndarray[Any, np.dtype[Any]]


def nearest(self: Rounder, pixels: Array, change: Array, kind: Any, place: Any) -> None:
    """As rounding was before."""
    if pixels.dtype.kind == "f":
        pixels += change
    else:
        ends = np.iinfo(pixels.dtype)
        pixels[...] = np.clip(np.rint(pixels + change), ends.min, ends.max).astype(pixels.dtype)


STEPS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "mosaic": (mosaic_search, "has_mosaic", lambda *_: False),
    "gaps": (driver, "find", lambda *_: Missing()),
    "noise by brightness": (noise_level, "squares", lambda stack, *_: stack[0, :8, :8][None]),
    "exposures": (exposures, "view", lambda _, first: normalise_view(first)),
    "lines": (line_step, "added", lambda *_: None),
    "holding back": (restraint, "share_kept", lambda *_: None),
    "what was held back": (Held, "add", lambda *_: None),
    "rounding": (Rounder, "add", nearest),
    "kind of noise": (noise_kind, "measure", lambda *_: NoiseKind()),
    "regions": (Regions, "add", lambda *_: None),
}
"""Where each step is, and what stands in its place when it is off."""


def normalise_view(first: Any) -> Any:
    return driver.View(first, (), ())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--side", type=int, default=1024)
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    torch.set_num_threads(1)
    for name, image in images(given.side).items():
        show(name, image, given.rounds)


def images(side: int) -> dict[str, Array]:
    """A scene with noise as 8-bit gray, 16-bit gray and 8-bit colour, (H, W, C)."""
    rng = np.random.default_rng(0)
    light = 40 + 150 * np.stack([fractal(rng, side) for _ in range(3)], -1)
    light = (light + 2 * light.mean(2, keepdims=True)) / 3
    noisy = light + rng.normal(0, 8, light.shape)
    eight = noisy.round().clip(0, 255).astype(np.uint8)
    return {"gray, 8 bit": eight[..., :1], "gray, 16 bit": (noisy[..., :1] * 100).astype(np.uint16), "RGB": eight}


def show(name: str, image: Array, rounds: int) -> None:
    denoiser = Denoiser.load("base-rgb" if image.shape[-1] == 3 else "base-gray", "cpu")
    answers = recorded(denoiser, image)
    megapixels = image.shape[0] * image.shape[1] / 1e6
    spent: dict[str, list[float]] = {}
    for _ in range(rounds):
        for of, seconds in {**timed(denoiser, image, answers), "off": without(denoiser, image, answers)}.items():
            spent.setdefault(of, []).append(1e3 * seconds / megapixels)
    least = {of: min(found) for of, found in spent.items()}
    print(f"{name}: {least['on'] - least['off']:.1f} ms of CPU a megapixel more ({least['off']:.1f} off)")
    print("   ", ", ".join(f"{of} {ms:.1f}" for of, ms in least.items() if of not in ("on", "off")))


def recorded(denoiser: Denoiser, image: Array) -> list[Posterior]:
    """What the network says of every window, in order."""
    answers: list[Posterior] = []
    backend = denoiser._backends.current()

    def listening(noisy: Array, with_variance: bool) -> Posterior:
        answers.append(backend(noisy, with_variance))
        return answers[-1]

    run(denoiser, image, listening, backend.tile)
    return answers


def run(denoiser: Denoiser, image: Array, network: Callable[..., Posterior], tile: int) -> float:
    """Seconds of CPU of a request, what the worker asks of the image before it included."""
    with patch.object(denoiser._backends, "current", lambda: network):
        begin = time.thread_time()
        if image.shape[-1] == 1:
            mosaic_search.has_mosaic(image[None, ..., 0])
        denoiser.denoise_with_report(image, tile=tile)
        return time.thread_time() - begin


def playing(answers: list[Posterior]) -> Callable[..., Posterior]:
    following = iter(answers)

    def answer(noisy: Array, with_variance: bool) -> Posterior:
        mean, variance = next(following)
        return Posterior(mean.copy(), None if variance is None else variance.copy())

    return answer


def timed(denoiser: Denoiser, image: Array, answers: list[Posterior]) -> dict[str, float]:
    """Seconds of a request with all steps, and of each of them."""
    spent = Counter[str]()

    def watched(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def timing(*args: Any, **more: Any) -> Any:
            begin = time.thread_time()
            try:
                return step(*args, **more)
            finally:
                spent[name] += time.thread_time() - begin

        return timing

    with ExitStack() as stack:
        for name, (owner, attribute, _) in STEPS.items():
            stack.enter_context(patch.object(owner, attribute, watched(name, getattr(owner, attribute))))
        whole = run(denoiser, image, playing(answers), denoiser._backends.current().tile)
    return {"on": whole, **{name: spent[name] for name in STEPS}}


def without(denoiser: Denoiser, image: Array, answers: list[Posterior]) -> float:
    with ExitStack() as stack:
        for owner, attribute, off in STEPS.values():
            stack.enter_context(patch.object(owner, attribute, off))
        return run(denoiser, image, playing(answers), denoiser._backends.current().tile)


if __name__ == "__main__":
    main()
