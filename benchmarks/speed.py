"""Speed of the networks, as ratios in one run: inference against the paper's network as its authors run it, requests in
float32 against bfloat16, and a training step against the paper's way.

    python -m benchmarks.speed                 # all tables
    python -m benchmarks.speed --no-training   # inference alone
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from model.config import ObjectiveConfig, TrainConfig, network_preset, objective_preset
from model.inference.cpu_runtime import CpuRuntime
from model.inference.denoiser import Denoiser
from model.inference.onednn_runtime import OneDnnRuntime
from model.networks.unets import MeanOnly, ShuffleUNet, build_denoiser
from model.training import sampler
from model.training.masker import PHASES
from model.training.trainer import Trainer

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
    """Seconds a megapixel, gray: the paper's network as its authors run it, then each step towards ours."""
    image = torch.rand(1, 1, SIDE, SIDE)
    last, pixels = image.contiguous(memory_format=torch.channels_last), image[0].numpy()
    megapixels = SIDE * SIDE / 1e6
    rows: list[tuple[str, Callable[[], object]]] = []
    paper = MeanOnly(build_denoiser(network_preset("paper", 1)).eval())
    rows.append(("paper, eager", lambda: paper(image)))
    for preset in ("fast", "best"):
        network = build_denoiser(network_preset(preset, 1)).eval()
        assert isinstance(network, ShuffleUNet)
        ncnn, onednn = CpuRuntime(network, torch.get_num_threads()), OneDnnRuntime(network)
        laid = MeanOnly(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rows += [
            (f"{preset}, torch channels_last", lambda run=laid: run(last)),  # type: ignore[misc]
            (f"{preset}, ncnn float32", lambda run=ncnn: run(pixels)),  # type: ignore[misc]
            (f"{preset}, oneDNN bfloat16", lambda run=onednn: run(pixels)),  # type: ignore[misc]
        ]
    print(f"\n| network | s/megapixel | times the paper's |\n|---|---|---|  ({torch.get_num_threads()} threads)")
    reference = None
    with torch.inference_mode():
        for name, work in rows:
            seconds = fastest(work, repeats) / megapixels
            reference = reference or seconds
            print(f"| {name} | {seconds:.3f} | {reference / seconds:.1f} |", flush=True)


def requests(repeats: int, large: bool) -> None:
    """Seconds of `Denoiser.denoise_with_report`, in float32 and in bfloat16, and what `auto` takes here."""
    shapes = [(64, 64), (333, 517), (768, 768)] + [(3000, 4000)] * large
    print("\n| model | image | float32, s | bfloat16, s | ratio | `auto` takes |\n|---|---|---|---|---|---|")
    for model in ("base-gray", "base-rgb"):
        exact, rounded, auto = (Denoiser.load(model, "cpu", p) for p in ("float32", "bfloat16", "auto"))
        for shape in shapes:
            size = shape if exact.channels == 1 else (*shape, 3)
            image = np.random.default_rng(0).integers(0, 65535, size).astype(np.uint16)
            both = [fastest(lambda d=d, image=image: d.denoise_with_report(image), repeats) for d in (exact, rounded)]  # type: ignore[misc]
            told = f"{both[0]:.4f} | {both[1]:.4f} | {both[0] / both[1]:.2f} | {auto.backend}"
            print(f"| {model} | {shape[0]} x {shape[1]} | {told} |", flush=True)


def training(repeats: int, slow: bool) -> None:
    """Seconds a step of 4 crops of 128²: the paper's way, ours, supervised, fine-tuning."""
    published, ours = objective_preset("paper", "blind2sound"), ObjectiveConfig("blind2sound", beta=1.0, risk=1.0)
    rows = [
        ("paper", "Blind2Sound, K = 1", published),
        ("fast", "Blind2Sound, K = 4", ObjectiveConfig("blind2sound", phases=4)),
        ("fast", "Blind2Sound, K = 1", ObjectiveConfig("blind2sound")),
        ("fast", "the same with L_risk", ours),
        ("fast", "supervised", ObjectiveConfig("n2c")),
        ("fast", "a fine-tuning's", ObjectiveConfig("thinning")),
        ("best", "a fine-tuning's", ObjectiveConfig("thinning")),
    ]
    if slow:
        rows.insert(0, ("paper", "Blind2Sound, K = 16 (the paper's way)", replace(published, phases=16)))
    images = [np.random.default_rng(0).integers(0, 255, (1, 180, 180)).astype(np.uint8)]
    line = np.array([[0.01, 0.0002**2, 1e-6, 0.0]], np.float32)
    print("\n| network | step | float32, s/step | bfloat16 | ratio | times the first |\n|---|---|---|---|---|---|")
    reference = None
    for preset, name, objective in rows:
        config = TrainConfig(
            network=network_preset(preset, 1, residual=objective.name in ("thinning", "n2c")),
            objective=objective, noise="PG1", fixed_noise=objective.name != "n2c", steps=10_000,
        )  # fmt: skip
        draw = sampler.of_images(config, images)
        times = [
            fastest(Trainer(config, draw, noise_line=lambda index: line, precision=p).train_step,
                    1 if objective.phases == PHASES else repeats)
            for p in ("float32", "bfloat16")
        ]  # fmt: skip
        reference = reference or times[0]
        print(f"| {preset} | {name} | {times[0]:.3f} | {times[1]:.3f} | {times[0] / times[1]:.2f} "
              f"| {reference / min(times):.1f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0, help="0: every core")
    parser.add_argument("--large", action="store_true", help="time requests of 12 megapixels too")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--sixteen", action="store_true", help="time the paper's 16 phases too (minutes)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    inference(options.repeats)
    requests(options.repeats, options.large)
    if not options.no_training:
        training(options.repeats, options.sixteen)
