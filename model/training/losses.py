"""The losses of Blind2Sound: adaptive re-visible (§3.2) and Cramer Gaussian (§3.3), and what they are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.networks import covariance
from model.networks.estimator import NoiseEstimate

MEAN_FLOOR = 1e-3  # n = σ² + α·max(μ, floor): a mean below zero would give a negative variance (code)
MOVED_SHARE = 1 / 16
SMALLEST_STEP = 1e-3  # normalised units: far above float32's rounding
PATCH = 8


def revisible_mean(masked: Tensor, visible: Tensor, visibility: float) -> Tensor:
    """μ = (μ_m + λ·μ_v) / (1 + λ); the visible branch is computed under no_grad."""
    return (masked + visibility * visible) / (1 + visibility)


def revisible_covariance(masked: Tensor, visible: Tensor, visibility: float) -> Tensor:
    """Σ_x = (Σ_m + λ²·Σ_v) / (1 + λ)²: the branches' errors are independent."""
    return (masked + visibility**2 * visible) / (1 + visibility) ** 2


def read_variance(noise: NoiseEstimate, visibility: float, enhanced: bool = True) -> Tensor:
    """σ², (B,): (σ1² + λ²·σ2²) / (1 + λ)² by the enhanced model M_E, σ1² by the basic one M_B."""
    if enhanced:
        return revisible_covariance(noise.variance_masked, noise.variance_visible, visibility)
    return noise.variance_masked


def noise_variance(mean: Tensor, noise: NoiseEstimate, visibility: float, enhanced: bool = True) -> Tensor:
    """n = σ² + α·max(stopgrad(μ), 1e-3), a pixel and channel, with the σ² of `read_variance`.

    Args:
        mean: μ, (B, C, H, W). No gradient flows back into it.
        noise: g's answer, (B,) each.
    """
    shape = (-1, 1, 1, 1)
    signal = mean.detach().clamp_min(MEAN_FLOOR)
    return read_variance(noise, visibility, enhanced).view(shape) + noise.alpha.view(shape) * signal


def adaptive_revisible(noisy: Tensor, mean: Tensor, sigma_x: Tensor, noise: Tensor, beta: float = 0.0) -> Tensor:
    """L_arv = ½·(y−μ)ᵀ·Σ_y⁻¹·(y−μ) + ½·log det Σ_y with Σ_y = Σ_x + diag(n), averaged over pixels (B, H, W).

    Args:
        noisy, mean, noise: (B, C, H, W).
        sigma_x: (B, T, H, W), Σ_x's upper triangle.
        beta: weigh a pixel by stopgrad(tr Σ_y)^β over its mean (β-NLL, Seitzer et al., ICLR 2022, eq. 5). 0 is the
            paper's likelihood, whose pull on a pixel's mean falls with its variance: dark pixels first. 1 pulls on all
            means alike, as PSNR counts them; every β has the same minimum.
    """
    sigma_y = covariance.add_diagonal(sigma_x, noise)
    nll = covariance.gaussian_nll(noisy - mean, sigma_y)
    if not beta:
        return nll.mean()
    weight = covariance.diagonal_of(sigma_y).detach().sum(1) ** beta
    return (nll * weight).mean() / weight.mean()


def unbiased_risk(noisy: Tensor, mean: Tensor, variance: Tensor, slope: Tensor) -> Tensor:
    """|f(y) − y|² − n + 2·n·∂f/∂y: expected to be f's squared error |f(y) − x|², without x.

    Stein's unbiased risk estimate for Poisson-Gaussian noise (Le Montagner, Angelini, Olivo-Marin, IEEE TIP 23(3),
    2014). A single pixel's may be negative.

    Args:
        noisy, mean: y and f(y), (B, C, H, W).
        variance: n = α·y + σ², read off y itself and not cut at zero: only so is its expectation the noise's.
        slope: of `own_slope`, over a step of α.
    """
    return (mean - noisy) ** 2 - variance + 2 * variance * slope


def own_slope(
    denoise: Callable[[Tensor], Tensor], noisy: Tensor, mean: Tensor, step: Tensor, generator: torch.Generator
) -> Tensor:
    """(f(y) − f(y − step)) / step of each output when its own input alone is moved; an unbiased estimate.

    For a Poisson number E[(y − x)·f(y)] = E[y·(f(y) − f(y − α))]: the step is one photon, and downwards. With a
    derivative instead a network learns to keep dark outliers, whose price it underrates. One pixel in sixteen moves at
    a time, drawn at random; what the others do to an output is the same whether its own input moves or not.

    Args:
        noisy, mean: y and f(y), (B, C, H, W).
        step: (B,), in normalised units.
        generator: on the CPU, so that every device draws the same.
    """
    moved = (torch.rand(noisy.shape, generator=generator) < MOVED_SHARE).to(noisy)
    size = step.view(-1, 1, 1, 1).clamp_min(SMALLEST_STEP)
    change = mean - denoise(noisy - size * moved)
    return change * (moved / MOVED_SHARE - (1 - moved) / (1 - MOVED_SHARE)) / size


def generalised_anscombe(noisy: Tensor, alpha: Tensor, sigma2: Tensor) -> Tensor:
    """G(y) = 2·sqrt(max(y/α + 3/8 + (σ/α)², 0)): Poisson-Gaussian noise becomes close to unit variance.

    Args:
        noisy: (B, C, H, W). alpha, sigma2: (B,).
    """
    a, s2 = alpha.view(-1, 1, 1, 1), sigma2.view(-1, 1, 1, 1)
    inside = noisy / a + 0.375 + s2 / a**2
    # sqrt's gradient is infinite at 0, where the max cuts: a tiny floor keeps it finite without moving the value.
    return 2 * inside.clamp_min(1e-6).sqrt()


def chen_noise_std(image: Tensor, corner: float | None = None, stride: int = 1) -> Tensor:
    """Noise std of images by the eigenvalues of their patches' covariance (Chen et al., ICCV 2015).

    8×8 patches; eigenvalues of the 64×64 covariance ascending; τ_k the mean of the k smallest; the largest k whose
    first k eigenvalues split evenly about τ_k; η = √τ_k. The gradient is exact: dτ_k = trace of V_kᵀ·dC·V_k / k.

    Args:
        image: (B, H, W), H and W at least 16.
        corner: also measure the four corner crops of this share of each side, from the same patches.
        stride: step between patches in pixels; 1 uses all of them.

    Returns:
        (B,) or, with a `corner`, (B, 5): the four corner crops, then the whole image.

    Raises:
        torch.linalg.LinAlgError: the eigendecomposition failed.
    """
    # Centring first is exact for a covariance and keeps the difference of large numbers out of float32.
    centred = image - image.mean((1, 2), keepdim=True).detach()
    patches = centred.unfold(1, PATCH, stride).unfold(2, PATCH, stride).flatten(3)  # (B, h, w, 64)
    rows, columns = patches.shape[1:3]
    windows = [(slice(None), slice(None))]
    if corner is not None:
        height, width = (max(PATCH, int(corner * s)) for s in image.shape[1:])
        r, c = (height - PATCH) // stride + 1, (width - PATCH) // stride + 1
        windows = [(y, x) for y in (slice(r), slice(rows - r, None)) for x in (slice(c), slice(columns - c, None))]
        windows.append((slice(None), slice(None)))
    covariances = torch.stack([_covariance(patches[:, y, x]) for y, x in windows], 1)  # (B, K, 64, 64)
    out = _smallest_mean(covariances).clamp_min(1e-12).sqrt()
    return out[:, 0] if corner is None else out


def _covariance(patches: Tensor) -> Tensor:  # (B, h, w, 64) -> (B, 64, 64)
    flat = patches.flatten(1, 2)
    mean = flat.mean(1, keepdim=True)
    second = flat.transpose(1, 2) @ flat / flat.shape[1]
    return second - mean.transpose(1, 2) @ mean


def _smallest_mean(covariances: Tensor) -> Tensor:  # (..., 64, 64) -> (...,)
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(covariances)  # ascending
        counts = torch.arange(1, values.shape[-1] + 1, device=values.device, dtype=values.dtype)
        means = values.cumsum(-1) / counts  # τ_k, (..., 64)
        kept = counts[None, :] <= counts[:, None]  # (k, i): eigenvalue i is among the k smallest
        below = ((values[..., None, :] < means[..., :, None]) & kept).sum(-1)
        # Signal lifts the mean above the median. Evenly split (an odd count by one) means that none is left.
        even = 2 * below <= counts + counts % 2
        best = torch.where(even, counts, torch.ones_like(counts)).amax(-1)
        chosen = (counts <= best[..., None]).to(values.dtype) / best[..., None]
        projector = (vectors * chosen[..., None, :]) @ vectors.transpose(-1, -2)
    smallest: Tensor = (covariances * projector).sum((-1, -2))
    return smallest


@dataclass
class CramerGaussian:
    """L_est, the Cramer Gaussian loss: after the GAT with the right (α, σ), noise has unit std everywhere.

    gray: Σ over the four corner crops of (η(G(y_s)) − 1)², plus (η(G(y)) − 1)²;
    colour: Σ_j (η_j − 1)² + Σ_{j≠k} (η_j − η_k)². Both averaged over the batch.

    Attributes:
        stride: step between patches; see `chen_noise_std`.
        corner: side of the corner crops over the image's; ¾ is the paper's.
        skipped: batches left out because the eigendecomposition failed.
    """

    stride: int = 1
    corner: float = 0.75
    skipped: int = 0

    def __call__(self, noisy: Tensor, alpha: Tensor, sigma2: Tensor) -> Tensor:
        """Loss of g's answer for `noisy` (B, C, H, W); alpha, sigma2 (B,). Zero for a skipped batch."""
        try:
            loss = self._loss(generalised_anscombe(noisy, alpha, sigma2))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined,unused-ignore]
            loss = None
        # LAPACK may also answer NaN for what it cannot decompose.
        if loss is None or not torch.isfinite(loss):
            self.skipped += 1
            return noisy.new_zeros(())
        return loss

    def _loss(self, stabilised: Tensor) -> Tensor:
        batch, channels, height, width = stabilised.shape
        if channels == 1:
            eta = chen_noise_std(stabilised[:, 0], self.corner, self.stride)  # (B, 5)
            return ((eta - 1) ** 2).sum(1).mean()
        flat = stabilised.reshape(batch * channels, height, width)
        eta = chen_noise_std(flat, stride=self.stride).view(batch, channels)
        spread = (eta[:, :, None] - eta[:, None, :]) ** 2  # every ordered pair j ≠ k
        return (((eta - 1) ** 2).sum(1) + spread.sum((1, 2))).mean()
