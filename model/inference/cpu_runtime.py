"""Inference of the fast network on a CPU through ncnn, whose Winograd convolutions do with fewer multiplications.

Same numbers as torch to about 1e-6 in a fraction of its time (benchmarks/README.md, "Speed"). The network is handed
over layer by layer in memory; nothing is traced, exported or written to disk.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import ncnn
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.networks.unets import DenoiserNetwork, ResidualBlock, ShuffleUNet

MAGIC = 7767517  # first line of ncnn's text format
RELU = 1
FLOAT32 = 0  # storage tag in front of a convolution's weights


def supports(network: DenoiserNetwork) -> bool:
    """Whether this runtime can run the network."""
    return isinstance(network, ShuffleUNet)


class CpuRuntime:
    """A `ShuffleUNet` with its weights at the time of the call.

    Args:
        network: on any device.
        threads: CPU threads of a call.
    """

    def __init__(self, network: ShuffleUNet, threads: int) -> None:
        graph = _Graph()
        _describe(network, graph)
        self._channels, self._residual = network.channels, network.config.residual
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        # float32 throughout: half precision would cost the agreement with torch.
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        # 6×6 outputs a tile lose three digits to cancellation and gain no time over 4×4.
        options.use_winograd63_convolution = False
        self._net.load_param_mem(graph.text())
        self._weights = bytes(graph.weights)  # ncnn may refer to these bytes rather than copy them
        self._net.load_model_mem(self._weights)

    def __call__(self, noisy: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As the network's forward, for one image.

        Args:
            noisy: (frames·C, H, W), H and W multiples of the network's stride.

        Returns:
            mean (C, H, W) and factor (T, H, W) of Σ_x.
        """
        centred = np.ascontiguousarray(noisy - np.float32(0.5))  # named: ncnn.Mat does not keep it alive
        extractor = self._net.create_extractor()
        extractor.input("noisy", ncnn.Mat(centred))
        failed, found = extractor.extract("out")
        if failed:
            raise RuntimeError(f"the CPU runtime failed (ncnn error {failed}) on an image of shape {noisy.shape}")
        out = np.array(found)
        mean = out[: self._channels]
        mean += noisy[: self._channels] if self._residual else np.float32(0.5)
        return mean, out[self._channels :]


@dataclass
class _Graph:
    """ncnn's two files: the layers as text, their weights as bytes."""

    layers: list[str] = field(default_factory=list)
    blobs: int = 0
    weights: bytearray = field(default_factory=bytearray)

    def add(self, kind: str, inputs: list[str], outputs: list[str], **options: int) -> None:
        arguments = " ".join(f"{key.removeprefix('k')}={value}" for key, value in options.items())
        names = " ".join(inputs + outputs)
        self.layers.append(f"{kind} layer{len(self.layers)} {len(inputs)} {len(outputs)} {names} {arguments}".rstrip())
        self.blobs += len(outputs)

    def blob(self) -> str:
        return f"blob{self.blobs}_{len(self.layers)}"

    def convolution(self, source: str, weight: Tensor, bias: Tensor, stride: int, padding: int, relu: bool) -> str:
        out = self.blob()
        self.add(
            "Convolution", [source], [out],
            k0=weight.shape[0], k1=weight.shape[-1], k3=stride, k4=padding, k5=1, k6=weight.numel(), k9=RELU * relu,
        )  # fmt: skip
        self.weights += struct.pack("<I", FLOAT32) + _bytes(weight) + _bytes(bias)
        return out

    def layer(self, source: str, module: nn.Conv2d, relu: bool = False) -> str:
        assert module.bias is not None and isinstance(module.padding[0], int)
        return self.convolution(source, module.weight, module.bias, module.stride[0], module.padding[0], relu)

    def fork(self, source: str) -> tuple[str, str]:
        first = self.blob()
        second = f"{first}_again"
        self.add("Split", [source], [first, second])
        return first, second

    def sum(self, first: str, second: str) -> str:
        out = self.blob()
        self.add("BinaryOp", [first, second], [out], k0=0)
        return out

    def shuffle(self, source: str, name: str | None = None) -> str:
        out = name or self.blob()
        self.add("PixelShuffle", [source], [out], k0=2)
        return out

    def text(self) -> str:
        return f"{MAGIC}\n{len(self.layers)} {self.blobs}\n" + "\n".join(self.layers) + "\n"


def _describe(network: ShuffleUNet, graph: _Graph) -> None:
    """`ShuffleUNet.features` without the input added, from blob `noisy` (centred) to blob `out`."""
    graph.add("Input", [], ["noisy"])
    weight = _head_on_pixels(network.head.weight, network.config.inputs)
    assert network.head.bias is not None
    h = graph.convolution("noisy", weight, network.head.bias, stride=2, padding=2, relu=False)
    skips: list[str] = []
    for encode, down in zip(network.encode, network.down, strict=False):
        kept, onward = graph.fork(_residual_blocks(graph, h, encode))
        skips.append(kept)
        h = graph.layer(onward, _conv(down))
    h = _residual_blocks(graph, h, network.encode[-1])
    for up, decode in zip(reversed(network.up), reversed(network.decode), strict=True):
        raised = graph.shuffle(graph.layer(h, _conv(up)))
        h = _residual_blocks(graph, graph.sum(raised, skips.pop()), decode)
    graph.shuffle(graph.layer(h, network.tail), "out")


def _residual_blocks(graph: _Graph, h: str, blocks: nn.Module) -> str:
    for block in blocks.children():
        assert isinstance(block, ResidualBlock)
        kept, onward = graph.fork(h)
        h = graph.sum(graph.layer(graph.layer(onward, block.first, relu=True), block.second), kept)
    return h


def _head_on_pixels(weight: Tensor, channels: int) -> Tensor:
    """The 3×3 convolution on the 2×2 pixel-unshuffled image as a 6×6 one with stride 2 on the image itself."""
    width = weight.shape[0]
    cells = weight.view(width, channels, 2, 2, 3, 3)  # (w, C, dy, dx, ky, kx): pixel row 2·ky + dy
    return cells.permute(0, 1, 4, 2, 5, 3).reshape(width, channels, 6, 6)


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
