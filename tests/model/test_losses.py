from collections.abc import Callable

import numpy as np
import pytest
import torch

from model.networks.estimator import NoiseEstimate
from model.noise.poisson_gaussian import LEVELS, PoissonGaussian
from model.training import losses


def noisy_ramp(level: PoissonGaussian, size: int = 256, seed: int = 0) -> torch.Tensor:
    """A smooth image with noise, (1, 1, size, size)."""
    ramp = np.linspace(0.2, 0.8, size, dtype=np.float32)
    clean = np.broadcast_to(ramp, (size, size))
    return torch.from_numpy(level.add(clean, np.random.default_rng(seed)))[None, None]


@pytest.mark.parametrize("std", [0.02, 0.3, 1.0])
def test_chen_measures_white_noise(std: float) -> None:
    image = std * torch.randn(4, 128, 128, generator=torch.Generator().manual_seed(0))
    assert losses.chen_noise_std(image).mean().item() == pytest.approx(std, rel=0.03)


def test_chen_sees_through_structure() -> None:
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    scene = torch.sin(x / 9) + torch.cos(y / 13) + (x > 128).float()
    noise = 0.1 * torch.randn(256, 256, generator=torch.Generator().manual_seed(1))
    assert losses.chen_noise_std((scene + noise)[None]).item() == pytest.approx(0.1, rel=0.05)


def test_chen_gradient_is_the_numerical_one() -> None:
    image = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gain = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    losses.chen_noise_std(image * gain).sum().backward()
    step = 1e-4
    up, down = (losses.chen_noise_std(image * (1 + s)).item() for s in (step, -step))
    assert gain.grad is not None
    assert gain.grad.item() == pytest.approx((up - down) / (2 * step), rel=1e-3)


@pytest.mark.parametrize(("corner", "side"), [(0.75, 48), (0.5, 32)])
def test_corner_crops_equal_crops_cut_out_by_hand(corner: float, side: int) -> None:
    image = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(3))
    together = losses.chen_noise_std(image, corner=corner)[0]
    ends = (slice(side), slice(64 - side, None))
    cuts = [image[:, y, x] for y in ends for x in ends]
    for got, cut in zip(together, [*cuts, image], strict=True):
        assert got.item() == pytest.approx(losses.chen_noise_std(cut).item(), rel=1e-4)


@pytest.mark.parametrize("name", ["PG1", "PG2", "PG3"])
def test_anscombe_makes_unit_variance(name: str) -> None:
    level = LEVELS[name]
    for grey in (0.3, 0.6, 0.9):
        noisy = level.add(np.full((400, 400), grey, np.float32), np.random.default_rng(5))
        stable = losses.generalised_anscombe(
            torch.from_numpy(noisy)[None, None], torch.tensor([level.alpha]), torch.tensor([level.sigma**2])
        )
        assert stable.std().item() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["PG2", "PG3"])
def test_l_est_is_smallest_at_the_truth(name: str, channels: int) -> None:
    level = LEVELS[name]
    noisy = torch.cat([noisy_ramp(level, seed=s) for s in range(channels)], 1)
    loss = losses.CramerGaussian()

    def at(alpha_factor: float, sigma_factor: float) -> float:
        alpha = torch.tensor([level.alpha * alpha_factor])
        return loss(noisy, alpha, torch.tensor([(level.sigma * sigma_factor) ** 2])).item()

    truth = at(1.0, 1.0)
    for wrong in ((0.7, 1.0), (1.4, 1.0), (0.8, 0.5), (1.3, 1.5)):
        assert truth < at(*wrong)
    assert loss.skipped == 0


def test_failed_decomposition_is_skipped_and_counted() -> None:
    loss = losses.CramerGaussian()
    noisy = torch.full((1, 1, 64, 64), float("nan"))
    assert loss(noisy, torch.tensor([0.01]), torch.tensor([0.0])).item() == 0.0
    assert loss.skipped == 1


def test_no_gradient_through_alpha_times_mean() -> None:
    mean = torch.rand(1, 1, 8, 8, requires_grad=True)
    alpha = torch.tensor([0.01], requires_grad=True)
    noise = NoiseEstimate(alpha, torch.tensor([1e-4]), torch.tensor([1e-4]))
    variance = losses.noise_variance(mean, noise, 3.0)
    assert variance.requires_grad  # α still learns
    variance.sum().backward()
    assert mean.grad is None
    assert alpha.grad is not None and alpha.grad.item() == pytest.approx(
        mean.clamp_min(losses.MEAN_FLOOR).sum().item(), rel=1e-5
    )


def test_enhanced_and_basic_noise_models() -> None:
    noise = NoiseEstimate(torch.tensor([0.0]), torch.tensor([4.0]), torch.tensor([9.0]))
    mean = torch.zeros(1, 1, 1, 1)
    assert losses.noise_variance(mean, noise, 3.0, enhanced=True).item() == pytest.approx((4 + 9 * 9) / 16)
    assert losses.noise_variance(mean, noise, 3.0, enhanced=False).item() == 4.0


def test_revisible_mixture() -> None:
    masked, visible = torch.tensor([1.0]), torch.tensor([2.0])
    assert losses.revisible_mean(masked, visible, 3.0).item() == pytest.approx(7 / 4)
    assert losses.revisible_covariance(masked, visible, 3.0).item() == pytest.approx(19 / 16)


def smooth_and_bend(image: torch.Tensor) -> torch.Tensor:
    """A denoiser that is not linear: a 3×3 mean, drawn towards the middle."""
    mean = torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
    return 0.5 + 0.3 * torch.tanh(2 * (0.6 * mean + 0.4 * image - 0.5))


def keep_dark_outliers(image: torch.Tensor) -> torch.Tensor:
    """A denoiser that trusts a pixel far darker than its neighbours, as a risk by derivatives would have it."""
    mean = torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
    return mean - torch.nn.functional.relu(mean - image - 0.25)


@pytest.mark.parametrize("denoise", [smooth_and_bend, keep_dark_outliers])
@pytest.mark.parametrize("level", ["PG1", "PG2", "PG3"])
def test_the_risk_is_the_squared_error_without_the_clean_image(
    level: str, denoise: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    noise, size = LEVELS[level], 1024
    clean = torch.linspace(0.2, 0.8, size).expand(1, 1, size, size)
    noisy = noisy_ramp(noise, size)
    mean = denoise(noisy)
    alpha, generator = torch.tensor([noise.alpha]), torch.Generator().manual_seed(0)
    slope = losses.own_slope(denoise, noisy, mean, alpha, generator)
    risk = losses.unbiased_risk(noisy, mean, noise.alpha * noisy + noise.sigma**2, slope)
    assert risk.mean().item() == pytest.approx(((mean - clean) ** 2).mean().item(), rel=0.05)


def test_the_slope_is_each_output_s_own_and_no_other_input_s() -> None:
    noisy = torch.rand(1, 1, 512, 512, generator=torch.Generator().manual_seed(1))
    mean = smooth_and_bend(noisy)
    found = losses.own_slope(smooth_and_bend, noisy, mean, torch.tensor([1e-3]), torch.Generator().manual_seed(2))
    bend = 0.6 * (1 - ((mean - 0.5) / 0.3) ** 2)  # tanh' of the argument
    own = 0.4 + 0.6 / 9
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert found[inner].mean().item() == pytest.approx((bend * own)[inner].mean().item(), rel=0.02)
