"""The seam of training objectives: what a step sees, and what an objective makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.config import ObjectiveConfig
from model.networks.unets import Denoise


@dataclass(frozen=True)
class Batch:
    """What a step sees. `clean` is None for methods that learn from noisy images alone.

    Attributes:
        noisy: (B, C, H, W) in normalised units, never clipped.
        clean: (B, C, H, W) or None.
        progress: share of the training that is done, 0 … 1.
        generator: the step's own randomness.
        noise_lines: (B, C, 4), each crop's noise variance against its signal (`thinning.variance_at`); only for
            objectives that must know the noise.
        step: steps done before this one.
        targets: (B, 2·C, H, W) of `sampler.Pairs`.
        noise_filters: (C, C, K, K), the shape of noise that neighbours share (`finetuning.noise_shape`); None: none do.
    """

    noisy: Tensor
    clean: Tensor | None
    progress: float
    generator: torch.Generator
    noise_lines: Tensor | None = None
    step: int = 0
    targets: Tensor | None = None
    noise_filters: Tensor | None = None


class Objective(nn.Module, ABC):
    """The seam. What an objective trains beside f are submodules of its own.

    They are optimised and checkpointed with f, by their attributes' names; `f`, `average`, `adam` and `best` are taken.

    Attributes:
        needs_clean: whether a batch must carry targets in `clean`.
        noisy_targets: whether these are second noisy images of the same scenes (`TrainConfig.noisy_targets`).
        lr_ratio: learning rate of its own parameters over f's.
    """

    needs_clean = False
    noisy_targets = False
    lr_ratio = 1.0

    def __init__(self, config: ObjectiveConfig, channels: int) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise and its parts by name, for the log."""

    def restore(self, denoiser: Denoise, noisy: Tensor) -> Tensor:
        """The method's answer to (B, C, H, W): f(y)'s mean, unless it answers otherwise (`laine19.py`, `fbi.py`).

        The service serves f(y) alone; what a method does beyond that is for its own score (`lab/reproduce.py`).
        """
        return denoiser(noisy)[0]


def visibility(progress: float, start: float, end: float, knee: float = 0.4) -> float:
    """λ: `start` until `knee` of the training, then linear to `end` (docs/method.md §3: 3 → 11 from 40 %)."""
    return start + (end - start) * max(0.0, progress - knee) / (1 - knee)
