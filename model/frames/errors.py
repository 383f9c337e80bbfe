"""How far an image is from what two other frames show of the same scene."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class FrameErrors(NamedTuple):
    """Of each pixel, (B, C, H, W).

    Attributes:
        squares: mean of the squared differences to the targets that show it; 0 where none does.
        product: of the differences to both: the squared error without bias, since their noise is independent.
        both: where both show it.
        shown: where one does.
    """

    squares: Tensor
    product: Tensor
    both: Tensor
    shown: Tensor

    @classmethod
    def of(cls, mean: Tensor, targets: Tensor) -> FrameErrors:
        """Of an image (B, C, H, W) and its targets (B, 2·C, H, W), NaN where they do not show its scene."""
        shown = torch.stack(targets.split(mean.shape[1], 1))  # (2, B, C, H, W)
        known = ~shown.isnan()
        away = torch.where(known, mean - shown.nan_to_num(), 0.0)
        both = known.all(0)
        squares = (away**2).sum(0) / known.sum(0).clamp_min(1)
        return cls(squares, torch.where(both, away[0] * away[1], 0.0), both, known.any(0))


class FramePair(NamedTuple):
    """What a network is shown and two other frames of the same scene, with the face of `thinning.Pair`.

    Attributes:
        seen: (B, n·C, H, W).
        targets: (B, 2·C, H, W).
        variance: of the page's noise, (B, C, H, W).
    """

    seen: Tensor
    targets: Tensor
    variance: Tensor

    def excess(self, mean: Tensor) -> Tensor:
        """An estimate of the squared error of f(y) for each pixel, its mean without bias; 0 where nobody can tell."""
        errors = FrameErrors.of(mean, self.targets)
        return errors.product * (errors.both.numel() / errors.both.sum().clamp_min(1))
