import pytest
import torch
from torch.distributions import MultivariateNormal

from model.networks import covariance
from model.networks.covariance import LOG_TWO_PI


def random_factor(channels: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(2, channels * (channels + 1) // 2, 5, 7, generator=generator, dtype=torch.float64)


def full_matrices(entries: torch.Tensor, channels: int) -> torch.Tensor:
    """(B, T, H, W) -> (B, H, W, C, C), written the slow and obvious way."""
    out = torch.zeros(entries.shape[0], *entries.shape[2:], channels, channels, dtype=entries.dtype)
    t = 0
    for i in range(channels):
        for j in range(i, channels):
            out[..., i, j] = entries[:, t]
            t += 1
    return out


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gram_is_a_times_a_transposed(channels: int) -> None:
    factor = random_factor(channels, torch.Generator().manual_seed(1))
    upper = full_matrices(factor, channels)
    expected = upper @ upper.transpose(-1, -2)
    got = full_matrices(covariance.outer_gram(factor), channels)
    assert torch.allclose(got, expected.triu(), atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_nll_equals_the_reference_distribution(channels: int) -> None:
    generator = torch.Generator().manual_seed(2)
    factor = random_factor(channels, generator)
    noise = torch.rand(2, channels, 5, 7, generator=generator, dtype=torch.float64) + 0.01
    residual = torch.randn(2, channels, 5, 7, generator=generator, dtype=torch.float64)
    sigma = covariance.add_diagonal(covariance.outer_gram(factor), noise)

    upper = full_matrices(factor, channels)
    matrix = upper @ upper.transpose(-1, -2) + torch.diag_embed(noise.permute(0, 2, 3, 1))
    reference = MultivariateNormal(torch.zeros(channels, dtype=torch.float64), matrix)
    expected = -reference.log_prob(residual.permute(0, 2, 3, 1))

    got = covariance.gaussian_nll(residual, sigma) + channels / 2 * LOG_TWO_PI
    assert torch.allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_no_determinant_floor_hides_a_small_variance(channels: int) -> None:
    """The likelihood's minimum over a variance sits at 1e-4, where the authors' floor of det Σ would leave an MSE."""
    residual = 0.01 * torch.randn(
        1, channels, 100, 100, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    zero = torch.zeros(1, channels * (channels + 1) // 2, 100, 100, dtype=torch.float64)

    def loss(variance: float) -> float:
        sigma = covariance.add_diagonal(zero, torch.full_like(residual, variance))
        return covariance.gaussian_nll(residual, sigma).mean().item()

    candidates = torch.logspace(-5, -3, 201, dtype=torch.float64).tolist()
    assert min(candidates, key=loss) == pytest.approx(1e-4, rel=0.03)


def test_diagonal_of_picks_the_variances() -> None:
    entries = torch.arange(10.0).view(1, 10, 1, 1)
    assert covariance.diagonal_of(entries).flatten().tolist() == [0.0, 4.0, 7.0, 9.0]
