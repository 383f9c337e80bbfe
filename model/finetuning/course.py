"""One training of a fine-tune by one method, and the best that it has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.networks.unets import DenoiserNetwork, build_denoiser
from model.training.checkpoint import Checkpoint
from model.training.trainer import Trainer

BEST = "best."


@dataclass
class Course:
    """A trainer and its best weights by the held-out score.

    Attributes:
        base: the network that is to be beaten; it is the best one until another is better.
        base_score: its score.
        best: the best weights.
        best_step: the trainer's step that made them; 0: they are the base's.
        peak_step: the step with the highest score of the training's own, which from scratch may be below the base's.
    """

    method: str
    trainer: Trainer
    base: DenoiserNetwork
    base_score: float
    best: dict[str, Tensor] = field(init=False)
    best_step: int = 0
    peak_step: int = 0

    def __post_init__(self) -> None:
        self.best = _copy(self.base)
        self.best_score = self.score = self.base_score
        self.peak = self.base_score if self.trainer.start_from is not None else float("-inf")

    def saw(self, score: float) -> None:
        """The held-out score of the weights of now."""
        self.score = score
        if score > self.peak:
            self.peak, self.peak_step = score, self.trainer.step
        if score > self.best_score:
            self.best_score, self.best_step, self.best = score, self.trainer.step, _copy(self.trainer.published())

    def best_network(self) -> DenoiserNetwork:
        """The denoiser with the best held-out score so far: the base's until one is better."""
        found = build_denoiser((self.trainer.published() if self.best_step else self.base).config)
        found.load_state_dict(self.best)
        device = next(self.base.parameters()).device
        return found.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def checkpoint(self) -> Checkpoint:
        """The trainer's, with the best weights beside it."""
        whole = self.trainer.checkpoint()
        tensors = whole.tensors | {BEST + name: value for name, value in self.best.items()}
        mine = {"method": self.method, "score": self.score}
        mine |= {"best_step": self.best_step, "best_score": self.best_score}
        mine |= {"peak_step": self.peak_step, "peak": None if math.isinf(self.peak) else self.peak}
        return Checkpoint(tensors, whole.state | {"course": mine})

    def restore(self, found: Checkpoint, mine: dict[str, Any]) -> None:
        """Continue where a checkpoint was taken; `mine` is what it says of the course."""
        self.trainer.restore(found)
        self.best = {k.removeprefix(BEST): v for k, v in found.tensors.items() if k.startswith(BEST)}
        self.best_step, self.best_score = mine["best_step"], mine["best_score"]
        self.score = mine.get("score", self.best_score)
        self.peak_step, peak = mine.get("peak_step", self.best_step), mine.get("peak", self.best_score)
        self.peak = float("-inf") if peak is None else peak


def _copy(network: DenoiserNetwork) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
