"""Speed of the networks, as ratios in one run: inference against the paper's network as its authors run it, and a
training step against the paper's way.

    python -m benchmarks.speed                 # both tables
    python -m benchmarks.speed --no-training   # inference alone
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from model.config import ObjectiveConfig, TrainConfig, estimator_preset, network_preset
from model.cpu_runtime import CpuRuntime
from model.masker import PHASES
from model.networks import MeanOnly, ShuffleUNet, build_denoiser
from model.trainer import Trainer

SIDE = 768


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of `repeats` runs after one warm-up: the least disturbed by the rest of the machine."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def inference(repeats: int) -> None:
    """Seconds a megapixel, gray: the paper's network eager and contiguous, then each step towards ours."""
    image = torch.rand(1, 1, SIDE, SIDE)
    last = image.contiguous(memory_format=torch.channels_last)
    megapixels = SIDE * SIDE / 1e6
    rows: list[tuple[str, Callable[[], object]]] = []
    for preset in ("paper", "fast"):
        eager = MeanOnly(build_denoiser(network_preset(preset, 1)).eval())
        laid = MeanOnly(build_denoiser(network_preset(preset, 1)).eval())
        laid.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rows.append((f"{preset}, eager", lambda network=eager: network(image)))  # type: ignore[misc]
        rows.append((f"{preset}, channels_last", lambda network=laid: network(last)))  # type: ignore[misc]
    fast = build_denoiser(network_preset("fast", 1))
    assert isinstance(fast, ShuffleUNet)
    runtime, pixels = CpuRuntime(fast, torch.get_num_threads()), image[0].numpy()
    rows.append(("fast, ncnn (what runs)", lambda: runtime(pixels)))
    print(f"\n| network | s/megapixel | times the paper's |\n|---|---|---|  ({torch.get_num_threads()} threads)")
    reference = None
    with torch.inference_mode():
        for name, work in rows:
            seconds = fastest(work, repeats) / megapixels
            reference = reference or seconds
            print(f"| {name} | {seconds:.3f} | {reference / seconds:.1f} |", flush=True)


def training(repeats: int, slow: bool) -> None:
    """Seconds a step of 4 crops of 128²: Blind2Sound in the paper's way and in ours, and a fine-tuning's step."""
    ours = ObjectiveConfig("blind2sound", beta=1.0, risk=1.0)
    rows = [
        ("paper", "Blind2Sound, K = 1", ObjectiveConfig("blind2sound")),
        ("fast", "Blind2Sound, K = 4", ObjectiveConfig("blind2sound", phases=4)),
        ("fast", "Blind2Sound, K = 1", ObjectiveConfig("blind2sound")),
        ("fast", "the same with L_risk", ours),
        ("fast", "a fine-tuning's", ObjectiveConfig("thinning")),
    ]
    if slow:
        rows.insert(0, ("paper", "Blind2Sound, K = 16 (the paper's way)", ObjectiveConfig("blind2sound", phases=16)))
    images = [np.random.default_rng(0).integers(0, 255, (1, 180, 180)).astype(np.uint8)]
    line = np.array([[0.01, 0.0002**2, 1e-6, 0.0]], np.float32)
    print("\n| network | step | s/step | images/s | times the first |\n|---|---|---|---|---|")
    reference = None
    for preset, name, objective in rows:
        config = TrainConfig(
            network=network_preset(preset, 1, residual=objective.name == "thinning"),
            estimator=estimator_preset(preset, 1), objective=objective, noise="PG1", fixed_noise=True, steps=10_000,
        )  # fmt: skip
        trainer = Trainer(config, images, noise_line=lambda index: line)
        seconds = fastest(trainer.train_step, 1 if objective.phases == PHASES else repeats)
        reference = reference or seconds
        print(f"| {preset} | {name} | {seconds:.2f} | {4 / seconds:.1f} | {reference / seconds:.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0, help="0: every core")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--sixteen", action="store_true", help="time the paper's 16 phases too (minutes)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    inference(options.repeats)
    if not options.no_training:
        training(options.repeats, options.sixteen)
