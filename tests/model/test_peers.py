"""The methods of others, each against an independent reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.config import EstimatorConfig, ObjectiveConfig, network_preset
from model.networks.estimator import NoiseEstimate
from model.networks.unets import build_denoiser
from model.training.objectives import fbi, laine19, neighbor2neighbor, noise2void
from model.training.objectives.base import Batch
from model.training.objectives.blind_spot import blind_spot
from model.training.objectives.table import build

PEERS = ("n2n", "noise2void", "noise2self", "neighbor2neighbor", "laine19", "fbi")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Blur(nn.Module):
    """Stands for f where a loss is checked by hand: a fixed kernel as the mean, a constant as the factor."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = size

    @property
    def exact(self) -> Blur:
        return self

    def forward(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        entries = noisy.shape[1] * (noisy.shape[1] + 1) // 2
        mean = nn.functional.avg_pool2d(noisy, self.size, 1, self.size // 2, count_include_pad=False)
        return mean, torch.full_like(noisy[:, :1], 0.3).expand(-1, entries, -1, -1)


def estimate(alpha: float, sigma: float, count: int = 1) -> NoiseEstimate:
    variance = torch.full((count,), sigma**2)
    return NoiseEstimate(torch.full((count,), alpha), variance, variance)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_peer_trains_and_answers_every_channel_count(name: str, channels: int) -> None:
    torch.manual_seed(0)
    network = build_denoiser(network_preset("fast", channels, residual=False))
    objective = build(ObjectiveConfig(name, estimator=EstimatorConfig()), channels)
    noisy = torch.rand(2, channels, 32, 32, generator=seeded(9))
    loss, parts = objective(network, Batch(noisy, noisy * 0.9, 0.5, seeded()))
    loss.backward()
    assert torch.isfinite(loss) and all(np.isfinite(part) for part in parts.values())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    with torch.no_grad():
        answer = objective.restore(network, noisy)
    assert answer.shape == noisy.shape and torch.isfinite(answer).all()


@pytest.mark.parametrize("name", PEERS)
def test_only_the_controls_ask_for_targets(name: str) -> None:
    network, noisy = Blur(), torch.rand(1, 1, 32, 32, generator=seeded())
    objective = build(ObjectiveConfig(name), 1)
    batch = Batch(noisy, None, 0.5, seeded())
    if not objective.needs_clean:
        assert torch.isfinite(objective(network, batch)[0])
        return
    assert name == "n2n" and objective.noisy_targets
    with pytest.raises(ValueError, match="second noisy image"):
        objective(network, batch)


def test_noise2noise_is_the_squared_distance_to_the_other_image() -> None:
    y, other = torch.rand(2, 1, 8, 8, generator=seeded()), torch.rand(2, 1, 8, 8, generator=seeded(1))
    loss = build(ObjectiveConfig("n2n"), 1)(Blur(), Batch(y, other, 0.0, seeded()))[0]
    assert loss.item() == pytest.approx(np.mean((Blur()(y)[0].numpy() - other.numpy()) ** 2), rel=1e-5)


def test_noise2void_replaces_one_pixel_a_cell_by_another_near_it() -> None:
    y = torch.arange(2 * 3 * 20 * 24, dtype=torch.float32).view(2, 3, 20, 24)  # every value is its place
    masked, where = noise2void.with_replaced_pixels(y, seeded())
    changed = (masked != y).any(1, keepdim=True)
    assert torch.equal(changed, where.bool())
    for image in range(2):
        for top in range(0, 20, 8):
            for left in range(0, 24, 8):
                count = where[image, 0, top : top + 8, left : left + 8].sum().item()
                assert count == 1 if top + 8 <= 20 else count <= 1
    for image, row, column in (where[:, 0] == 1).nonzero().tolist():
        source = masked[image, :, row, column] - y[image, :, 0, 0]
        assert len(set(source.tolist())) == 1  # all channels from one place
        down, right = divmod(int(source[0]), 24)
        assert (down, right) != (row, column) and abs(down - row) <= 2 and abs(right - column) <= 2


def test_noise2void_counts_masked_pixels_alone() -> None:
    y = torch.rand(2, 1, 32, 32, generator=seeded())
    masked, where = noise2void.with_replaced_pixels(y, seeded(5))
    expected = [(Blur()(masked)[0] - y)[where.bool()].pow(2).mean().item()]
    loss = build(ObjectiveConfig("noise2void"), 1)(Blur(), Batch(y, None, 0.0, seeded(5)))[0]
    assert loss.item() == pytest.approx(expected[0], rel=1e-5)


def test_no_answer_of_the_blind_spot_depends_on_its_own_pixel() -> None:
    y = torch.rand(1, 1, 16, 16, generator=seeded()).requires_grad_()
    mean, factor = blind_spot(Blur(5), y)
    assert factor.shape == y.shape
    for row, column in ((0, 0), (3, 7), (10, 5), (15, 15)):
        (slope,) = torch.autograd.grad(mean[0, 0, row, column], y, retain_graph=True)
        assert slope[0, 0, row, column] == 0 and slope.abs().sum() > 0


def test_neighbours_by_loops() -> None:
    """Loss and sub-images, cell by cell, in NumPy."""
    y = torch.rand(1, 2, 6, 8, generator=seeded())
    pair = neighbor2neighbor.draw_pairs(y, seeded(3))
    first, second = (part.numpy() for part in neighbor2neighbor.sub_images(y, pair))
    seen, f = set(), Blur()
    whole = f(y)[0].numpy()
    reconstruction, regulariser = [], []
    answer = f(torch.from_numpy(first))[0].numpy()
    for row in range(3):
        for column in range(4):
            places = [divmod(int(pair[0, i, row, column]), 2) for i in (0, 1)]
            assert abs(places[0][0] - places[1][0]) + abs(places[0][1] - places[1][1]) == 1  # beside each other
            seen.add(tuple(places))
            at = [(2 * row + down, 2 * column + right) for down, right in places]
            for channel in range(2):
                assert first[0, channel, row, column] == y[0, channel, at[0][0], at[0][1]]
                assert second[0, channel, row, column] == y[0, channel, at[1][0], at[1][1]]
                gap = answer[0, channel, row, column] - second[0, channel, row, column]
                reconstruction.append(gap**2)
                steps = whole[0, channel][at[0]] - whole[0, channel][at[1]]
                regulariser.append((gap - steps) ** 2)
    assert len(seen) > 4
    objective = build(ObjectiveConfig("neighbor2neighbor"), 2)
    loss, parts = objective(f, Batch(y, None, 0.25, seeded(3)))
    assert parts["reconstruction"] == pytest.approx(np.mean(reconstruction), rel=1e-4)
    assert parts["regulariser"] == pytest.approx(np.mean(regulariser), rel=1e-4)
    assert loss.item() == pytest.approx(np.mean(reconstruction) + 0.5 * np.mean(regulariser), rel=1e-4)


def test_the_posterior_of_one_channel_is_the_weighted_mean_by_precision() -> None:
    y, mean = torch.rand(1, 1, 4, 4, generator=seeded()), torch.rand(1, 1, 4, 4, generator=seeded(1))
    sigma, noise = torch.full_like(y, 0.04), torch.full_like(y, 0.01)
    found = laine19.posterior_mean(y, mean, sigma, noise)
    assert torch.allclose(found, (mean / 0.04 + y / 0.01) / (1 / 0.04 + 1 / 0.01), atol=1e-6)


def test_the_posterior_of_colours_is_the_regression_of_many_draws() -> None:
    rng = np.random.default_rng(0)
    prior, noise = np.array([[0.05, 0.03, 0.0], [0.03, 0.06, 0.01], [0.0, 0.01, 0.02]]), np.array([0.02, 0.01, 0.04])
    x = rng.multivariate_normal([0.5, 0.4, 0.3], prior, 400_000)
    y = x + rng.normal(size=x.shape) * np.sqrt(noise)
    design = np.column_stack([y, np.ones(len(y))])
    slope = np.linalg.lstsq(design, x, rcond=None)[0]
    point = np.array([0.9, 0.1, 0.5])
    upper = torch.tensor(prior[np.triu_indices(3)], dtype=torch.float32).view(1, 6, 1, 1)
    arguments = [torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (point, [0.5, 0.4, 0.3])]
    variance = torch.tensor(noise, dtype=torch.float32).view(1, 3, 1, 1)
    found = laine19.posterior_mean(*arguments, upper, variance).flatten().numpy()
    assert found == pytest.approx(np.append(point, 1) @ slope, abs=0.01)


def test_laine_s_likelihood_is_a_gaussian_s_less_its_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build(ObjectiveConfig("laine19", phases=16), 1)
    monkeypatch.setattr(objective.g, "forward", lambda noisy: estimate(0.05, 0.1))
    y = torch.rand(1, 1, 16, 16, generator=seeded())
    mean = blind_spot(Blur(), y)[0].numpy().astype(np.float64)
    noise = 0.05 * np.maximum(mean, 1e-3) + 0.01
    total = 0.3**2 + noise
    nll = 0.5 * (y.numpy() - mean) ** 2 / total + 0.5 * np.log(total)
    loss = objective(Blur(), Batch(y, None, 0.0, seeded()))[0]
    assert loss.item() == pytest.approx(nll.mean() - 0.1 * np.sqrt(noise).mean(), rel=1e-4)


@pytest.mark.parametrize(("alpha", "sigma"), [(0.01, 0.02), (0.05, 0.02)])
def test_the_inverse_of_the_stabilised_mean_has_no_bias(alpha: float, sigma: float) -> None:
    rng = np.random.default_rng(0)
    for x in (0.1, 0.4, 0.8):
        y = alpha * rng.poisson(x / alpha, 400_000) + rng.normal(0, sigma, 400_000)
        noise = estimate(alpha, sigma)
        stabilised = fbi.Stabilised.of(torch.tensor(y, dtype=torch.float32).view(1, 1, 1, -1), noise)
        assert stabilised.image.var().item() == pytest.approx(stabilised.variance.item(), rel=0.1)
        assert stabilised.back(stabilised.image.mean(3, keepdim=True)).item() == pytest.approx(x, rel=0.01)


def test_the_affine_risk_is_the_error_without_knowing_the_truth() -> None:
    z = 0.6 + 0.1 * torch.randn(400_000, generator=seeded())
    slope, offset = torch.tensor(0.4), torch.tensor(0.3)
    risk = fbi.affine_risk(z, slope, offset, torch.tensor(0.01)).mean().item()
    assert risk == pytest.approx((slope * z + offset - 0.6).pow(2).mean().item(), abs=3e-4)
    best = 0.01 / (0.01 + 0.01)  # of a prior as wide as the noise and centred on 0.6: half of each
    risks = [fbi.affine_risk(z, torch.tensor(a), (1 - a) * torch.tensor(0.7), torch.tensor(0.01)).mean().item() for a in
             (best - 0.3, best, best + 0.3)]  # fmt: skip
    assert min(risks) == risks[1]
