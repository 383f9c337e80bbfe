"""One straight training loop for every objective and preset.

A step's randomness (crops, noise, phases) comes from (seed, step) alone, so a resumed run draws what an undisturbed one
would have drawn and, on a CPU, ends with the same weights bit for bit.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model import objectives
from model.checkpoint import Checkpoint
from model.config import TrainConfig
from model.data import CropSampler, Pixels, full_scale
from model.estimator import NoiseEstimator
from model.networks import DenoiserNetwork, build_denoiser
from model.noise import PoissonGaussian, draw_level
from model.normalise import Normalisation


@dataclass(frozen=True)
class StepStats:
    """One line of `stats.jsonl`."""

    step: int
    progress: float
    elapsed: float
    loss: float
    parts: dict[str, float]
    lr: float
    grad_norm: float
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        numbers = {k: v for k, v in vars(self).items() if k != "parts"} | self.parts
        return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in numbers.items()}


@dataclass
class Trainer:
    """f and g, their optimiser and their average, a step at a time.

    Args:
        config: the run.
        images: (C, H, W) arrays in memory, any real type; see `CropSampler`.
        device: where to train.
        start_from: a denoiser whose weights to start with, e.g. a base model.
        scaling: file values to normalised units; default: integers by their full scale.
        noise_line: (C, 4) noise line of the image of an index, for objectives that ask for it.

    Attributes:
        step: steps done.
        elapsed: seconds of training done, over all resumed pieces.
    """

    config: TrainConfig
    images: Sequence[Pixels]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start_from: DenoiserNetwork | None = None
    scaling: Normalisation | None = None
    noise_line: Callable[[int], NDArray[np.float32]] | None = None
    step: int = 0
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        config = self.config
        torch.manual_seed(config.seed)
        memory_format = torch.channels_last
        self.denoiser = build_denoiser(config.network)
        if self.start_from is not None:
            self.denoiser.load_state_dict(self.start_from.state_dict())
        self.denoiser.to(self.device, memory_format=memory_format)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.denoiser).requires_grad_(False)
        self.estimator = NoiseEstimator(config.estimator, config.start_alpha, config.start_sigma)
        self.estimator.to(self.device, memory_format=memory_format)  # type: ignore[call-overload]
        self.objective = objectives.build(config.objective)
        self.optimiser = torch.optim.Adam(
            [
                {"params": list(self.denoiser.parameters()), "ratio": 1.0},
                {"params": list(self.estimator.parameters()), "ratio": config.estimator_lr_ratio},
            ],
            lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.99), fused=True,
        )  # fmt: skip
        images = self._draw_noise_once() if config.fixed_noise else self.images
        self.sampler = CropSampler(images, config.crop, config.gain_probability, self.scaling)

    @property
    def progress(self) -> float:
        """Share of the budget that is used up, 0 … 1."""
        by_steps = self.step / self.config.steps if self.config.steps else 0.0
        by_time = self.elapsed / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    @property
    def done(self) -> bool:
        return self.progress >= 1.0

    def run(
        self,
        on_step: Callable[[StepStats], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train until the budget is used up, or `should_stop()` between two steps. Returns whether it is done."""
        while not self.done and not should_stop():
            stats = self.train_step()
            if on_step:
                on_step(stats)
        return self.done

    def train_step(self) -> StepStats:
        """One step of f and g."""
        started = time.perf_counter()
        config = self.config
        progress, lr = self.progress, self._set_learning_rate()
        batch = self.draw_batch(self.step, progress)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss, parts = self.objective(self.denoiser, self.estimator, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), config.clip)
        nn.utils.clip_grad_norm_(self.estimator.parameters(), config.clip)
        if torch.isfinite(norm):  # a step that overflowed is left out, and shows in the log
            self.optimiser.step()
            self._update_average()
        self.step += 1
        seconds = time.perf_counter() - started
        self.elapsed += seconds
        return StepStats(self.step, progress, self.elapsed, loss.item(), parts, lr, norm.item(), config.batch / seconds)

    def published(self) -> DenoiserNetwork:
        """The denoiser to ship: the averaged weights, or the last ones without averaging."""
        return self.average if self.config.ema else self.denoiser

    def checkpoint(self) -> Checkpoint:
        """Everything that the next step depends on."""
        tensors: dict[str, Tensor] = {}
        for prefix, module in self._modules():
            tensors |= {f"{prefix}.{name}": value for name, value in module.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        calls = getattr(self.objective, "calls", 0)
        state = {"step": self.step, "elapsed": self.elapsed, "calls": calls, "config": self.config.to_dict()}
        return Checkpoint(tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint was taken."""
        tensors = checkpoint.tensors
        for prefix, module in self._modules():
            start = f"{prefix}."
            module.load_state_dict({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        adam: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                if value.dim():  # the fused kernel walks memory, so a moment must lie as its parameter does
                    value = torch.empty_like(parameters[int(index)]).copy_(value)
                adam.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({"state": adam, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.step, self.elapsed = checkpoint.state["step"], checkpoint.state["elapsed"]
        if hasattr(self.objective, "calls"):
            self.objective.calls = checkpoint.state["calls"]

    def _modules(self) -> list[tuple[str, nn.Module]]:
        return [("f", self.denoiser), ("g", self.estimator), ("average", self.average)]

    def draw_batch(self, step: int, progress: float) -> objectives.Batch:
        """The batch of a step, always the same one."""
        config = self.config
        rng = np.random.default_rng((config.seed, step))
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        crops, indices = self.sampler.draw(config.batch, rng)
        if config.fixed_noise or config.noise == "none":
            noisy, clean = crops, None
        else:
            levels = [draw_level(config.noise, rng) for _ in crops]  # type: ignore[arg-type]
            noisy = np.stack([level.add(crop, rng) for level, crop in zip(levels, crops, strict=True)])
            clean = crops if self.objective.needs_clean else None
        clean_tensor = None if clean is None else self._upload(clean)
        lines = self.noise_line and torch.from_numpy(np.stack([self.noise_line(i) for i in indices])).to(self.device)
        return objectives.Batch(self._upload(noisy), clean_tensor, progress, generator, lines)

    def _upload(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self.device).contiguous(memory_format=torch.channels_last)

    def _draw_noise_once(self) -> list[Pixels]:
        """Each image with one noise draw, kept for the whole training; the clean pixels are not used again."""
        rng = np.random.default_rng((self.config.seed, 0x5EED))
        level: PoissonGaussian = draw_level(self.config.noise, rng)  # type: ignore[arg-type]
        return [level.add(i.astype(np.float32) / np.float32(full_scale(i.dtype)), rng) for i in self.images]

    def _set_learning_rate(self) -> float:
        config, progress = self.config, self.progress
        if config.schedule == "halving":
            factor = 0.5 ** math.floor(progress / 0.2 + 1e-9)
        else:
            factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        factor *= min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * factor * group["ratio"]
        return config.lr * factor

    @torch.no_grad()
    def _update_average(self) -> None:
        # The ramp lets a young average follow its weights: (1 + t) / (10 + t) as in the usual EMA warm-up.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        averaged: list[Tensor] = list(self.average.parameters())
        current: list[Tensor] = list(self.denoiser.parameters())
        torch._foreach_lerp_(averaged, current, 1 - decay)
