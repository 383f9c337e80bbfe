"""Small filters over (C, H, W) arrays, and the sRGB curve."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Array = NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def gaussian_kernel(sigma: float, radius: int | None = None) -> Array:
    """A normalised one-dimensional Gaussian; `radius` defaults to three sigma."""
    reach = max(1, math.ceil(3 * sigma)) if radius is None else radius
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma * sigma))
    kernel: Array = (taps / taps.sum()).astype(np.float32)
    return kernel


def filtered(image: Array, kernel: Array) -> Array:
    """Each channel of (C, H, W) correlated with a kernel (h, w) of odd sides; the border is reflected."""
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = F.pad(torch.from_numpy(image)[:, None], (columns, columns, rows, rows), "reflect")
    out: Array = F.conv2d(padded, torch.from_numpy(np.ascontiguousarray(kernel))[None, None])[:, 0].numpy()
    return out


def filtered_inside(image: Array, kernel: Array) -> Array:
    """As `filtered`, of the pixels whose neighbourhood is complete: (C, H − h + 1, W − w + 1)."""
    weights = torch.from_numpy(np.ascontiguousarray(kernel))[None, None]
    out: Array = F.conv2d(torch.from_numpy(image)[:, None], weights)[:, 0].numpy()
    return out


def blurred_inside(image: Array, sigma: float) -> Array:
    """Gaussian blur of (C, H, W), of the pixels whose neighbourhood of three sigma is complete."""
    taps = gaussian_kernel(sigma)
    return filtered_inside(filtered_inside(image, taps[:, None]), taps[None, :])


def resized(image: Array, height: int, width: int) -> Array:
    """(C, H, W) to another size, bicubic; smaller sizes are low-pass filtered first."""
    smaller = height < image.shape[1] or width < image.shape[2]
    out: Array = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(image))[None], size=(height, width), mode="bicubic", antialias=smaller
    )[0].numpy()
    return out


def to_linear(image: Array) -> Array:
    """sRGB values in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(image <= 0.04045, image / 12.92, ((np.maximum(image, 0) + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(light: Array) -> Array:
    """Linear light to sRGB values (IEC 61966-2-1)."""
    curve = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, 12.92 * light, curve).astype(np.float32)
