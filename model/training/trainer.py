"""One straight training loop for every objective and preset.

A step's randomness (crops, noise, phases) comes from (seed, step) alone, so a resumed run draws what an undisturbed one
would have drawn and, on a CPU, ends with the same weights bit for bit.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import TrainConfig
from model.errors import InvalidOption
from model.inference.precision import require_known, training_pays
from model.networks.unets import Denoise, DenoiserNetwork, InBfloat16, build_denoiser
from model.training.checkpoint import Checkpoint
from model.training.objectives.base import Batch
from model.training.objectives.table import build
from model.training.sampler import Sampler


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
    """f and what its objective trains beside it, their optimiser and f's average, a step at a time.

    Args:
        config: the run.
        sampler: where the pairs of a step come from, e.g. `sampler.of_images`.
        device: where to train.
        start_from: a denoiser whose weights to start with, e.g. a base model.
        noise_line: (C, 4) noise line of the image of an index, for objectives that ask for it.
        noise_filters: (C, C, K, K), the shape of the noise where neighbours share it.
        precision: of f's convolutions on a CPU: `float32`, `bfloat16`, or `auto`, which is bfloat16 where a trial finds
            it faster. From then on it is the one that was taken: a resumed training goes on in it.

    Attributes:
        step: steps done.
        elapsed: seconds of training done, over all resumed pieces.
    """

    config: TrainConfig
    sampler: Sampler
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start_from: DenoiserNetwork | None = None
    noise_line: Callable[[int], NDArray[np.float32]] | None = None
    noise_filters: Tensor | None = None
    precision: str = "auto"
    step: int = 0
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        config = self.config
        require_known(self.precision)
        if self.device.type != "cpu":
            self.precision = "bfloat16"
        elif self.precision == "auto":
            self.precision = "bfloat16" if training_pays() else "float32"
        torch.set_flush_denormal(True)  # Adam's moments of weights at rest become denormals, a hundred times as slow
        torch.manual_seed(config.seed)
        memory_format = torch.channels_last
        self.denoiser = build_denoiser(config.network)
        if self.start_from is not None:
            self.denoiser.load_state_dict(self.start_from.state_dict())
        self.denoiser.to(self.device, memory_format=memory_format)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.denoiser).requires_grad_(False)
        self.objective = build(config.objective, config.network.channels)
        self.objective.to(self.device, memory_format=memory_format)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(
            [
                {"params": list(self.denoiser.parameters()), "ratio": 1.0},
                {"params": list(self.objective.parameters()), "ratio": self.objective.lr_ratio},
            ],
            lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.99), fused=True,
        )  # fmt: skip

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
        """One step of f and of what the objective trains beside it."""
        started = time.perf_counter()
        config = self.config
        progress, lr = self.progress, self._set_learning_rate()
        batch = self.draw_batch(self.step, progress)
        f: Denoise = InBfloat16(self.denoiser) if self.precision == "bfloat16" else self.denoiser
        loss, parts = self.objective(f, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), config.clip)
        nn.utils.clip_grad_norm_(list(self.objective.parameters()), config.clip)
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
            tensors |= {prefix + name: value for name, value in module.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        state = {"step": self.step, "elapsed": self.elapsed, "config": self.config.to_dict()}
        state["precision"] = self.precision
        return Checkpoint(tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint was taken.

        Raises:
            InvalidOption: it is of another network or objective.
        """
        if not self.fits(checkpoint):
            raise InvalidOption(
                "the checkpoint found is of another network or objective: give the settings that it was made with, "
                "or start a new run in another folder"
            )
        tensors = checkpoint.tensors
        for prefix, module in self._modules():
            module.load_state_dict({name: tensors[prefix + name] for name in module.state_dict()})
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
        if self.device.type == "cpu":
            self.precision = checkpoint.state.get("precision", "float32")  # before 2026-11-30 it was never another

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint holds, in their shapes, the tensors that this training has."""
        mine = {
            prefix + name: value for prefix, module in self._modules() for name, value in module.state_dict().items()
        }
        theirs = checkpoint.tensors
        same_objective = checkpoint.state["config"]["objective"]["name"] == self.config.objective.name
        return same_objective and all(
            name in theirs and theirs[name].shape == value.shape for name, value in mine.items()
        )

    def _modules(self) -> list[tuple[str, nn.Module]]:
        """What a checkpoint holds, and how its names begin there."""
        return [("f.", self.denoiser), ("", self.objective), ("average.", self.average)]

    def draw_batch(self, step: int, progress: float) -> Batch:
        """The batch of a step, always the same one."""
        config = self.config
        rng = np.random.default_rng((config.seed, step))
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        noisy, clean, indices, others = self.sampler.draw(config.batch, rng)
        targets = self._upload(clean) if clean is not None and self.objective.needs_clean else None
        lines = self.noise_line and torch.from_numpy(np.stack([self.noise_line(i) for i in indices])).to(self.device)
        frames = None if others is None else self._upload(others)
        filters = self.noise_filters
        return Batch(self._upload(noisy), targets, progress, generator, lines, step, frames, filters)

    def _upload(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self.device).contiguous(memory_format=torch.channels_last)

    def _set_learning_rate(self) -> float:
        config, progress = self.config, self.progress
        if config.schedule == "halving":
            factor = 0.5 ** math.floor(progress / 0.2 + 1e-9)
        else:
            factor = config.lr_floor + (1 - config.lr_floor) * 0.5 * (1 + math.cos(math.pi * progress))
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
