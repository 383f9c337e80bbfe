"""Inference of the fast network on a CPU with bfloat16 matrix units, through oneDNN's convolutions.

What carries the image stays float32: the first and the last layer, and the sums at full resolution between them. Only
the convolutions of the residual blocks, and what joins the levels, compute in bfloat16 (benchmarks/README.md, "Speed",
has what each choice costs). The result is μ − y before y is added, so y itself is never rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.networks.unets import ResidualBlock, ShuffleUNet

LAST = torch.channels_last
Pair = tuple["_Convolution", "_Convolution"]


class OneDnnRuntime:
    """A `ShuffleUNet` with its weights at the time of the call, rounded and packed once.

    Args:
        network: on a CPU.
    """

    def __init__(self, network: ShuffleUNet) -> None:
        self._channels, self._residual = network.channels, network.config.residual
        half = torch.bfloat16
        self._head = _Convolution.of(network.head, torch.float32)
        self._tail = _Convolution.of(network.tail, torch.float32)
        self._encode = [_packed_blocks(blocks) for blocks in network.encode]
        self._decode = [_packed_blocks(blocks) for blocks in network.decode]
        self._down = [_Convolution.of(layer, half) for layer in network.down]
        self._up = [_Convolution.of(layer, half) for layer in network.up]

    @torch.inference_mode()
    def __call__(self, noisy: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As the network's forward, for one image.

        Args:
            noisy: (frames·C, H, W), H and W multiples of the network's stride.

        Returns:
            mean (C, H, W) and factor (T, H, W) of Σ_x.
        """
        out: NDArray[np.float32] = self._features(torch.from_numpy(noisy)[None] - 0.5)[0].numpy()
        mean = out[: self._channels]
        mean += noisy[: self._channels] if self._residual else np.float32(0.5)
        return mean, out[self._channels :]

    def _features(self, centred: Tensor) -> Tensor:
        """`ShuffleUNet.features` without the input added: (1, C, H, W) -> (1, C + T, H, W), float32."""
        h = self._head(F.pixel_unshuffle(centred, 2).contiguous(memory_format=LAST))
        skips: list[Tensor] = []
        for encode, down in zip(self._encode, self._down, strict=False):
            h = _through(encode, h)
            skips.append(h)
            h = down(h.bfloat16())
        h = _through(self._encode[-1], h)
        for up, decode in zip(reversed(self._up), reversed(self._decode), strict=True):
            skip = skips.pop()
            # Cast first: an addition of two types takes torch four times as long as one of like types.
            h = _through(decode, F.pixel_shuffle(up(h.bfloat16()), 2).to(skip.dtype).add_(skip))
        return F.pixel_shuffle(self._tail(h), 2)


@dataclass(frozen=True)
class _Convolution:
    """A layer with its weights packed for oneDNN; plain ones where this torch cannot pack.

    torch fuses and packs for compiled graphs only, by the operators used here, which are none of its public names:
    without them the layer is computed as any other.
    """

    weight: Tensor
    bias: Tensor
    stride: list[int]
    padding: list[int]
    packed: bool

    @classmethod
    def of(cls, layer: nn.Module, dtype: torch.dtype) -> _Convolution:
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        assert all(isinstance(side, int) for side in layer.padding)
        weight = layer.weight.detach().to(dtype).contiguous(memory_format=LAST)
        stride, padding = list(layer.stride), [int(side) for side in layer.padding]
        packed = hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
        if packed:
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, [1, 1], 1, None)
        return cls(weight, layer.bias.detach().to(dtype), stride, padding, packed)

    def __call__(self, x: Tensor, relu: bool = False) -> Tensor:
        found: Tensor
        if self.packed:
            found = torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, self.padding, self.stride, [1, 1], 1, "relu" if relu else "none", [], ""
            )
            return found
        found = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        return F.relu_(found) if relu else found

    def add_to(self, x: Tensor, onto: Tensor) -> Tensor:
        """`onto` plus the layer's output, in place, in the type of `onto`."""
        if self.packed and onto.dtype == x.dtype:
            summed: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
                onto, x, self.weight, self.bias, self.padding, self.stride, [1, 1], 1, "add", None, None, [], None
            )
            return summed
        return onto.add_(self(x).to(onto.dtype))


def _packed_blocks(blocks: nn.Module) -> list[Pair]:
    packed = []
    for block in blocks.children():
        assert isinstance(block, ResidualBlock)
        packed.append((_Convolution.of(block.first, torch.bfloat16), _Convolution.of(block.second, torch.bfloat16)))
    return packed


def _through(blocks: list[Pair], h: Tensor) -> Tensor:
    """The residual blocks of a level; `h` (B, w, H, W) is changed."""
    for first, second in blocks:
        h = second.add_to(first(h.bfloat16(), relu=True), h)
    return h
