"""Small covariance matrices a pixel, in closed form over whole image planes.

A C × C symmetric matrix at every pixel is kept as its upper triangle, row by row, along dimension 1: (B, T, H, W) with
T = C(C+1)/2. For C = 1, 3, 4 the Cholesky factor is written out plane by plane: a batched linear-algebra call over
B·H·W tiny matrices is one to two orders of magnitude slower.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)


def channels_of(entries: int) -> int:
    """C for T = C(C+1)/2 stored entries."""
    return (math.isqrt(8 * entries + 1) - 1) // 2


def outer_gram(factor: Tensor) -> Tensor:
    """Σ = A·Aᵀ of the upper-triangular factor A (Blind2Sound §3.2).

    Args:
        factor: (B, T, H, W), A's upper triangle row by row.

    Returns:
        (B, T, H, W), Σ's upper triangle row by row.
    """
    size = channels_of(factor.shape[1])
    a = _planes(factor, size)
    rows = [
        sum((a[i, k] * a[j, k] for k in range(max(i, j), size)), start=torch.zeros_like(a[0, 0]))
        for i in range(size)
        for j in range(i, size)
    ]
    return torch.stack(rows, 1)


def add_diagonal(sigma: Tensor, diagonal: Tensor) -> Tensor:
    """Σ + diag(d): `sigma` (B, T, H, W), `diagonal` (B, C, H, W)."""
    size = diagonal.shape[1]
    planes = list(sigma.unbind(1))
    position = 0
    for row in range(size):
        planes[position] = planes[position] + diagonal[:, row]
        position += size - row
    return torch.stack(planes, 1)


def gaussian_nll(residual: Tensor, sigma: Tensor) -> Tensor:
    """½·rᵀ·Σ⁻¹·r + ½·log det Σ a pixel, with the exact log-determinant (no floor: docs/method.md §3).

    Args:
        residual: (B, C, H, W).
        sigma: (B, T, H, W), positive definite.

    Returns:
        (B, H, W); add C/2·log 2π for the negative log-density.
    """
    size = residual.shape[1]
    s, r = _planes(sigma, size), residual.unbind(1)
    lower: dict[tuple[int, int], Tensor] = {}
    whitened: list[Tensor] = []  # z = L⁻¹·r by forward substitution
    half_logdet = torch.zeros_like(r[0])
    for j in range(size):
        pivot = s[j, j] - sum((lower[j, k] ** 2 for k in range(j)), start=torch.zeros_like(r[0]))
        inverse = pivot.rsqrt()
        half_logdet = half_logdet + 0.5 * torch.log(pivot)
        for i in range(j + 1, size):
            dot = sum((lower[i, k] * lower[j, k] for k in range(j)), start=torch.zeros_like(r[0]))
            lower[i, j] = (s[j, i] - dot) * inverse
        dot = sum((lower[j, k] * whitened[k] for k in range(j)), start=torch.zeros_like(r[0]))
        whitened.append((r[j] - dot) * inverse)
    square = sum((z**2 for z in whitened), start=torch.zeros_like(r[0]))
    return 0.5 * square + half_logdet


def diagonal_of(sigma: Tensor) -> Tensor:
    """The variances (B, C, H, W) on the diagonal of Σ (B, T, H, W)."""
    size = channels_of(sigma.shape[1])
    planes, position, out = sigma.unbind(1), 0, []
    for row in range(size):
        out.append(planes[position])
        position += size - row
    return torch.stack(out, 1)


def _planes(entries: Tensor, size: int) -> dict[tuple[int, int], Tensor]:
    planes = iter(entries.unbind(1))
    return {(i, j): next(planes) for i in range(size) for j in range(i, size)}
