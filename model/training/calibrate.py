"""Make a supervised model's Σ_x honest: one factor, so that on average it equals the squared error it speaks of."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from model.networks import covariance
from model.networks.unets import DenoiserNetwork
from model.training.objectives.base import Batch


@torch.no_grad()
def calibrate_covariance(network: DenoiserNetwork, batches: Iterable[Batch]) -> float:
    """Scale the covariance head of `network` in place.

    Every crop counts alike whatever its noise: the factor is the exponential of the mean log-ratio.

    Args:
        batches: supervised batches, `clean` given.

    Returns:
        The factor that Σ_x was multiplied by.
    """
    logs = []
    for batch in batches:
        if batch.clean is None:
            raise ValueError("calibration compares with clean images: give batches that have them")
        mean, factor = network(batch.noisy)
        error = ((batch.clean - mean) ** 2).mean((1, 2, 3))
        spread = covariance.diagonal_of(covariance.outer_gram(factor)).mean((1, 2, 3))
        logs.append(torch.log(error + 1e-9) - torch.log(spread + 1e-9))
    ratio = float(torch.cat(logs).mean().exp())
    network.scale_covariance(ratio)
    return ratio
