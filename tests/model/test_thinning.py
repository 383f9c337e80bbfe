"""Thinning: two images of one scene whose noise is independent, from one noisy image and its noise line."""

import numpy as np
import pytest
import torch

from model.config import ObjectiveConfig, network_preset
from model.networks.unets import build_denoiser
from model.noise import thinning
from model.noise.poisson_gaussian import PoissonGaussian
from model.training.objectives.base import Batch
from model.training.objectives.table import build


@pytest.mark.parametrize("tau", [1.0, thinning.TRAINING_TAU, thinning.SCORING_TAU])
@pytest.mark.parametrize(("alpha", "sigma"), [(0.05, 0.02), (0.15, 0.0), (0.01, 0.05)])
def test_the_two_have_independent_noise_and_keep_the_mean(alpha: float, sigma: float, tau: float) -> None:
    x = 0.5
    noisy = PoissonGaussian(alpha, sigma).add(np.full((1, 1, 1024, 1024), x, np.float32), np.random.default_rng(0))
    y = torch.from_numpy(noisy)
    pair = thinning.thin(y, torch.tensor([[[alpha, sigma**2, 0.0, 0.0]]]), tau, torch.Generator().manual_seed(1))
    a, b = (pair.first - x).double().flatten(), (pair.second - x).double().flatten()
    true = alpha * x + sigma**2
    assert abs(float(a.mean())) < 0.01 * true**0.5 and abs(float(b.mean())) < 0.01 * true**0.5
    assert float(a.var()) == pytest.approx((1 + tau**2) * true, rel=0.01)
    assert float(b.var()) == pytest.approx(thinning.second_variance(tau) * true, rel=0.01)
    assert abs(float((a * b).mean())) < 0.02 * true  # their covariance


@pytest.mark.parametrize("zero", [0.0, 0.1])
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_a_few_photons_do_not_give_themselves_away(sigma: float, zero: float) -> None:
    """No function of y₁ foretells y₂'s noise at three photons a pixel; a Gaussian z fails this five times over."""
    alpha, x = 0.15, 0.45 + zero
    noisy = PoissonGaussian(alpha, sigma).add(np.full((1, 1, 1024, 1024), 0.45, np.float32), np.random.default_rng(0))
    noisy += zero  # normalisation moves the file's 0
    lines = torch.tensor([[[alpha, sigma**2 - alpha * zero, 0.0, zero]]])
    pair = thinning.thin(torch.from_numpy(noisy), lines, thinning.TRAINING_TAU, torch.Generator().manual_seed(1))
    first, rest = pair.first.double().flatten(), (pair.second - x).double().flatten()
    for edge in (0.1, 0.3, 0.8):
        foretold = float(rest[first < edge + zero].mean()) / float(rest.std())
        assert abs(foretold) < 0.03, edge


def test_crops_that_can_be_counted_and_others_share_a_batch() -> None:
    y = torch.rand(3, 1, 32, 32)
    lines = torch.tensor([[[0.1, 0.0, 0.0, 0.0]], [[0.0, 0.01, 0.0, 0.0]], [[0.05, -0.002, 0.001, 0.0]]])
    pair = thinning.thin(y, lines, 1.0, torch.Generator().manual_seed(1))
    assert torch.isfinite(pair.first).all() and torch.isfinite(pair.second).all()
    steps = (pair.first - y)[0] / 0.1  # y1 - y = α·(2·n1 - n): whole photons
    assert float((steps - steps.round()).abs().max()) < 1e-4
    assert float((pair.first + pair.second - 2 * y).abs().max()) < 1e-5  # at τ = 1 what one gains the other loses


def test_a_pedestal_never_goes_below_the_floor() -> None:
    y = torch.linspace(-0.1, 1, 12).view(1, 1, 3, 4)
    variance = thinning.variance_at(y, torch.tensor([[[0.1, -0.01, 0.002, 0.0]]]))
    assert float(variance.min()) == pytest.approx(0.002)
    assert float(variance.max()) == pytest.approx(0.09)


def test_the_objective_pulls_where_the_supervised_one_pulls() -> None:
    """The gradient over many thinned draws points along that of the error to the clean image at the same inputs."""
    torch.manual_seed(0)
    network = build_denoiser(network_preset("fast", 1))
    torch.nn.init.normal_(network.last_layer.weight, std=0.05)
    alpha, sigma = 0.02, 0.05
    x = (
        np.clip(np.random.default_rng(0).normal(0.5, 0.1, (8, 1, 8, 8)), 0.2, 0.8)
        .astype(np.float32)
        .repeat(8, 2)
        .repeat(8, 3)
    )
    lines = torch.tensor([[[alpha, sigma**2, 0.0, 0.0]]]).expand(8, 1, 4)
    thinned, supervised = [], []
    for seed in range(12):
        y = torch.from_numpy(PoissonGaussian(alpha, sigma).add(x, np.random.default_rng(seed)))
        batch = Batch(y, None, 0.5, torch.Generator().manual_seed(seed), lines)
        network.zero_grad()
        build(ObjectiveConfig("thinning"), 1)(network, batch)[0].backward()
        thinned.append(_mean_gradient(network))
        pair = thinning.thin(y, lines, thinning.TRAINING_TAU, torch.Generator().manual_seed(seed))
        network.zero_grad()
        scale = pair.variance.mean((1, 2, 3), keepdim=True)
        ((network(pair.first)[0] - torch.from_numpy(x)) ** 2 / scale).mean().backward()
        supervised.append(_mean_gradient(network))
    a, b = torch.stack(thinned).mean(0), torch.stack(supervised).mean(0)
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) > 0.9


def test_it_refuses_a_batch_without_noise_lines() -> None:
    network = build_denoiser(network_preset("fast", 1))
    batch = Batch(torch.rand(1, 1, 32, 32), None, 0.0, torch.Generator())
    with pytest.raises(ValueError, match="noise_lines"):
        build(ObjectiveConfig("thinning"), 1)(network, batch)


def _mean_gradient(network: torch.nn.Module) -> torch.Tensor:
    """Of the last layer's rows that make the mean."""
    return network.last_layer.weight.grad[:4].flatten().clone()  # type: ignore[union-attr,index,operator]
