"""How one padded window goes through a network: by torch on any device, by ncnn or oneDNN on a CPU.

The driver (`denoiser.py`) knows pixels, tiles and reports; a backend knows devices, precision and memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.inference import tiling
from model.inference.onednn_runtime import OneDnnRuntime
from model.inference.precision import pays, require_known
from model.networks import covariance
from model.networks.unets import DenoiserNetwork, ShuffleUNet

CPU_TILE = 1024
GPU_TILE = 2048
SMALLEST_TILE = 128
NAMES = ("ncnn-float32", "onednn-bfloat16", "torch-float32", "cuda-float16")
"""What a backend may be called in reports and metrics."""

Floats = NDArray[np.float32]
Runtime = Callable[[Floats], tuple[Floats, Floats]]
"""A window in, mean and factor of Σ_x out, as the network's forward for one image."""


class Posterior(NamedTuple):
    """What a network says of a window.

    Attributes:
        mean: μ (C, H, W), normalised.
        variance: the diagonal of Σ_x (C, H, W); None when it was not asked for.
    """

    mean: Floats
    variance: Floats | None


class Backend(Protocol):
    """One way to run a network.

    Attributes:
        name: where and in which precision it computes, as the report tells it.
        tile: side of a tile's core in pixels that fits it.
    """

    name: str
    tile: int

    def __call__(self, noisy: Floats, with_variance: bool) -> Posterior:
        """The posterior of a window (frames·C, H, W) in normalised units, H and W multiples of the network's stride."""


@dataclass
class TorchBackend:
    """torch, layer by layer: half precision on CUDA, float32 elsewhere.

    Attributes:
        out_of_memory_retries: how often a window was halved because the GPU was full.
    """

    network: DenoiserNetwork
    device: torch.device
    out_of_memory_retries: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._half = self.device.type == "cuda"
        self.name = "cuda-float16" if self._half else "torch-float32"
        self.tile = GPU_TILE if self._half else CPU_TILE

    def __call__(self, noisy: Floats, with_variance: bool) -> Posterior:
        try:
            return self._forward(noisy, with_variance)
        except torch.cuda.OutOfMemoryError:
            if min(noisy.shape[1:]) < 2 * SMALLEST_TILE:
                raise
        # Outside the except block: the exception holds the tensors that filled the card.
        self.out_of_memory_retries += 1
        torch.cuda.empty_cache()
        return self.in_quarters(noisy, with_variance)

    def in_quarters(self, noisy: Floats, with_variance: bool) -> Posterior:
        """As a call, with about a quarter of the memory."""
        height, width = noisy.shape[1:]
        network = self.network
        mean = np.empty_like(noisy[: network.channels])
        variance = np.empty_like(mean) if with_variance else None
        half = max(height, width) // 2
        for place in tiling.plan(height, width, size=half, halo=network.halo, stride=network.stride):
            part = self(np.ascontiguousarray(noisy[:, *place.window]), with_variance)
            mean[:, *place.core] = part.mean[:, *place.inner]
            if variance is not None and part.variance is not None:
                variance[:, *place.core] = part.variance[:, *place.inner]
        return Posterior(mean, variance)

    @torch.inference_mode()
    def _forward(self, noisy: Floats, with_variance: bool) -> Posterior:
        image = torch.from_numpy(noisy)[None].to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.float16, enabled=self._half):
            mean, factor = self.network(image)
        return Posterior(mean.float().cpu().numpy()[0], diagonal(factor.float()) if with_variance else None)


class CpuBackend:
    """A runtime of the fast network on CPU threads."""

    tile = CPU_TILE

    def __init__(self, name: str, runtime: Runtime) -> None:
        self.name = name
        self._run = runtime

    @torch.inference_mode()
    def __call__(self, noisy: Floats, with_variance: bool) -> Posterior:
        mean, factor = self._run(noisy)
        return Posterior(mean, diagonal(torch.from_numpy(factor)[None]) if with_variance else None)


class Backends:
    """The backends of a network on a device; the first of them is made at once.

    Args:
        precision: of the convolutions on a CPU: `float32`, `bfloat16`, or `auto`, which is bfloat16 where a trial finds
            it much faster.

    Raises:
        InvalidOption: no such precision.
    """

    def __init__(self, network: DenoiserNetwork, device: torch.device, precision: str = "auto") -> None:
        require_known(precision)
        self._network, self._device, self._precision = network, device, precision
        self._float32: dict[int, Backend] = {}  # by their threads: ncnn packs its weights for so many
        self._bfloat16: CpuBackend | None = None
        if device.type == "cpu" and isinstance(network, ShuffleUNet) and self._takes_bfloat16(network):
            self._bfloat16 = _in_bfloat16(network)
            self._float32.clear()  # of the trial
        self.current()

    def current(self) -> Backend:
        """The backend for as many threads as torch has now, made if it was not."""
        if self._bfloat16:
            return self._bfloat16
        threads = torch.get_num_threads() if self._device.type == "cpu" else 0
        if threads not in self._float32:
            self._float32[threads] = self._make(threads)
        return self._float32[threads]

    @property
    def out_of_memory_retries(self) -> int:
        """How often a window was halved because the GPU was full."""
        return sum(made.out_of_memory_retries for made in self._float32.values() if isinstance(made, TorchBackend))

    def _takes_bfloat16(self, network: ShuffleUNet) -> bool:
        if self._precision != "auto":
            return self._precision == "bfloat16"
        return pays(network, self.current, lambda: _in_bfloat16(network))

    def _make(self, threads: int) -> Backend:
        """As before bfloat16: half precision on CUDA, else float32, by ncnn where it can."""
        network = self._network
        if self._device.type != "cpu" or not isinstance(network, ShuffleUNet) or find_spec("ncnn") is None:
            return TorchBackend(network, self._device)
        from model.inference.cpu_runtime import CpuRuntime  # the one module that needs ncnn, which is not everywhere

        return CpuBackend("ncnn-float32", CpuRuntime(network, threads))


def _in_bfloat16(network: ShuffleUNet) -> CpuBackend:
    return CpuBackend("onednn-bfloat16", OneDnnRuntime(network))


def device_named(name: str) -> torch.device:
    """The device that a setting means: `auto` is CUDA when there is one, else the CPU; others as torch names them."""
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))


def diagonal(factor: Tensor) -> Floats:
    """Diagonal of Σ_x (C, H, W) from its factor (1, T, H, W)."""
    found: Floats = covariance.diagonal_of(covariance.outer_gram(factor)).cpu().numpy()[0]
    return found
