"""Denoiser f and noise estimator g (Blind2Sound §3; sizes in `config.py`).

Shapes stand at the end of tensor lines: B images, C channels, H × W pixels, T = C(C+1)/2 covariance entries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import NetworkConfig

ABSENT = 0.5  # stands for a neighbour that is not there: networks subtract it, and are their 2-D selves
SLOPE = 0.1  # LeakyReLU slope of the authors' network


def covariance_entries(channels: int) -> int:
    """Entries of the upper-triangular factor A of Σ = A·Aᵀ: C(C+1)/2."""
    return channels * (channels + 1) // 2


class Denoise(Protocol):
    """f as objectives call it, as `DenoiserNetwork.forward`; `exact` is f in float32, where rounding would tell."""

    @property
    def exact(self) -> DenoiserNetwork: ...

    def __call__(self, noisy: Tensor) -> tuple[Tensor, Tensor]: ...


class DenoiserNetwork(nn.Module):
    """Common face of every f: an image in, its posterior mean and covariance factor out.

    `stride` is the multiple that H and W must have; `halo` the radius of the receptive field in pixels, rounded up to
    a multiple of the stride: pixels farther away cannot change an output.
    """

    stride: int
    halo: int

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels

    @property
    def exact(self) -> DenoiserNetwork:
        """Itself: see `Denoise`."""
        return self

    def forward(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior of the clean image given a noisy one.

        Args:
            noisy: (B, C, H, W) in normalised units, H and W multiples of `stride`; with `config.frames` above 1
                (B, frames·C, H, W), the page before its neighbours -1, +1, -2, +2, which are 1/2 where there is none.

        Returns:
            mean (B, C, H, W) and the upper-triangular factor (B, T, H, W) of Σ_x = A·Aᵀ, row by row.
        """
        out = self.features(noisy)
        return out[:, : self.channels], out[:, self.channels :]

    def features(self, noisy: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C + T, H, W)
        raise NotImplementedError

    @property
    def last_layer(self) -> nn.Conv2d:
        """The layer whose outputs are mean and factor, in this order (each repeated for the sub-pixels it shuffles)."""
        raise NotImplementedError

    @torch.no_grad()
    def scale_covariance(self, ratio: float) -> None:
        """Multiply Σ_x by `ratio`, by scaling the rows of the last layer that make A."""
        layer = self.last_layer
        entries = self.channels + covariance_entries(self.channels)
        first = layer.out_channels // entries * self.channels
        layer.weight[first:] *= ratio**0.5
        layer.bias[first:] *= ratio**0.5  # type: ignore[index]


class PaperUNet(DenoiserNetwork):
    """The authors' U-Net: five poolings, concatenated skips, 1×1 tail (docs/method.md §2, reference size)."""

    stride = 32
    halo = 256

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        c, w = config.channels, config.widths[0]
        self.head = nn.Sequential(_conv3(config.inputs, w), _act(), _conv3(w, w), _act(), nn.MaxPool2d(2))
        self.down = nn.ModuleList(
            nn.Sequential(_conv3(w, w), _act(), *([nn.MaxPool2d(2)] if level < 4 else [])) for level in range(5)
        )
        # Skips: pooled tensors of the four upper levels, then the raw input.
        self.up = nn.ModuleList(_double_conv(w + w if level == 0 else 2 * w + w, 2 * w) for level in range(4))
        self.last = _double_conv(2 * w + config.inputs, 2 * w)
        self.tail = nn.Sequential(
            nn.Conv2d(2 * w, 2 * w, 1), _act(), nn.Conv2d(2 * w, 2 * w, 1), _act(),
            nn.Conv2d(2 * w, c + covariance_entries(c), 1),
        )  # fmt: skip

    @property
    def last_layer(self) -> nn.Conv2d:
        layer = self.tail[-1]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def features(self, noisy: Tensor) -> Tensor:
        x = noisy - 0.5  # (B, C, H, W)
        skips = [x]
        h = self.head(x)  # (B, w, H/2, W/2)
        for block in self.down:
            skips.append(h)
            h = block(h)
        skips.pop()
        for block in self.up:
            h = block(torch.cat([_double(h), skips.pop()], 1))
        out: Tensor = self.tail(self.last(torch.cat([_double(h), skips.pop()], 1))).float()  # sums are never half
        mean, factor = out.split([self.channels, out.shape[1] - self.channels], 1)
        return torch.cat([mean + 0.5, factor], 1)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))): two 3×3 convolutions, no normalisation layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv3(width, width)
        self.second = _conv3(width, width)
        nn.init.zeros_(self.second.weight)  # starts as the identity: deep stacks train at once
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.relu(self.first(x), inplace=True))
        return out


class ShuffleUNet(DenoiserNetwork):
    """Our fast size: a residual U-Net on the 2×2 pixel-unshuffled image, skips added rather than concatenated.

    With `config.residual` the output is added to y, so an image without noise is left alone from the first step on.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        c, widths, blocks = config.channels, config.widths, config.blocks
        levels = len(widths)
        self.stride = 2**levels
        # Radius in pixels: a 3×3 convolution at level l reaches 2^(l+1) pixels; the way down and up count both.
        convs = [4 * n for n in blocks[:-1]] + [2 * blocks[-1]]
        radius = 4 + sum(n * 2 ** (level + 1) for level, n in enumerate(convs)) + self.stride
        self.halo = -(-radius // self.stride) * self.stride
        self.head = _conv3(4 * config.inputs, widths[0])
        self.encode = nn.ModuleList(_blocks(widths[level], blocks[level]) for level in range(levels))
        self.down = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 2, stride=2) for i in range(levels - 1))
        self.up = nn.ModuleList(nn.Conv2d(widths[i + 1], 4 * widths[i], 1) for i in range(levels - 1))
        self.decode = nn.ModuleList(_blocks(widths[level], blocks[level]) for level in range(levels - 1))
        self.tail = _conv3(widths[0], 4 * (c + covariance_entries(c)))
        if config.residual:
            nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]
        with torch.no_grad():  # diagonal of A starts at a plausible posterior std, never at the singular 0
            for k in _diagonal_entries(c):
                self.tail.bias.view(-1, 4)[c + k] = 0.03  # type: ignore[union-attr]

    @property
    def last_layer(self) -> nn.Conv2d:
        return self.tail

    def features(self, noisy: Tensor) -> Tensor:
        h = self.head(F.pixel_unshuffle(noisy - 0.5, 2))  # (B, w0, H/2, W/2)
        skips: list[Tensor] = []
        for encode, down in zip(self.encode, self.down, strict=False):
            h = encode(h)
            skips.append(h)
            h = down(h)
        h = self.encode[-1](h)
        for up, decode in zip(reversed(self.up), reversed(self.decode), strict=True):
            h = decode(F.pixel_shuffle(up(h), 2) + skips.pop())
        out = F.pixel_shuffle(self.tail(h), 2).float()  # (B, C + T, H, W); y is never added in half precision
        mean, factor = out.split([self.channels, out.shape[1] - self.channels], 1)
        return torch.cat([mean + (noisy[:, : self.channels] if self.config.residual else 0.5), factor], 1)


class MeanOnly(nn.Module):
    """f reduced to what inference needs, the mean (docs/method.md §3), the covariance head's arithmetic cut off."""

    def __init__(self, denoiser: DenoiserNetwork) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, noisy: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        mean: Tensor = self.denoiser(noisy)[0]
        return mean


@dataclass(frozen=True)
class InBfloat16:
    """f with its convolutions in bfloat16 and what comes out of them in float32; gradients reach f's own weights."""

    exact: DenoiserNetwork

    def __call__(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(noisy.device.type, torch.bfloat16):
            mean, factor = self.exact(noisy)
        return mean, factor


def build_denoiser(config: NetworkConfig) -> DenoiserNetwork:
    """A denoiser with fresh weights, of the size in `config`."""
    return PaperUNet(config) if config.architecture == "paper_unet" else ShuffleUNet(config)


def with_frames(network: DenoiserNetwork, frames: int) -> DenoiserNetwork:
    """The same denoiser seeing `frames` pages of a stack: it answers as before until it is trained to use them."""
    wider = build_denoiser(replace(network.config, frames=frames))
    before, state = network.state_dict(), wider.state_dict()
    for name, value in before.items():
        room = torch.zeros_like(state[name])
        room[tuple(slice(side) for side in value.shape)] = value
        state[name] = room
    wider.load_state_dict(state)
    return wider


def _diagonal_entries(channels: int) -> list[int]:
    """Positions of A's diagonal among its entries stored row by row."""
    positions, start = [], 0
    for row in range(channels):
        positions.append(start)
        start += channels - row
    return positions


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _double_conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv3(inputs, outputs), _act(), _conv3(outputs, outputs), _act())


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


def _act() -> nn.Module:
    return nn.LeakyReLU(SLOPE, inplace=True)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
