"""Ranges that parameters of scenes and noises are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Uniform:
    """Between `low` and `high`; with `skew` > 1 small values are drawn more often (low + (high − low)·uᵏ)."""

    low: float
    high: float
    skew: float = 1.0

    def draw(self, rng: np.random.Generator) -> float:
        return float(self.low + (self.high - self.low) * rng.random() ** self.skew)


@dataclass(frozen=True)
class LogUniform:
    """Between `low` > 0 and `high`, every factor alike."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        return math.exp(rng.uniform(math.log(self.low), math.log(self.high)))


Range = Uniform | LogUniform


def happens(probability: float, rng: np.random.Generator) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


@dataclass(frozen=True)
class Mixture(Generic[T]):
    """One of several, each drawn in proportion to its weight."""

    parts: Sequence[tuple[float, T]]

    def draw(self, rng: np.random.Generator) -> T:
        weights = np.cumsum([weight for weight, _ in self.parts])
        return self.parts[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))][1]
