"""In which precision a CPU computes: what may be asked for, and which is faster, found by running both.

A flag of the CPU does not tell: with AMX, bfloat16 takes a fifth of ncnn's time; with AVX-512 alone it takes between
0.7 and 1.3 of it, since ncnn's Winograd convolutions save as many multiplications as the narrower numbers do. A
training has no such rival: there, AVX-512 alone gains a factor of 1.8 to 2.

Trials take one thread and its CPU time: beside other work the ratio by the clock swung between 0.75 and 1.48, and two
threads that wait for each other made it 2.3, where this stays within 5 % of 0.92.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import NetworkConfig
from model.errors import InvalidOption
from model.networks.unets import ShuffleUNet

PRECISIONS = ("auto", "float32", "bfloat16")
"""`auto` is bfloat16 where a trial finds it faster by enough."""

Floats = NDArray[np.float32]
Run = Callable[[Floats, bool], tuple[Floats, Floats | None]]
"""A backend's call."""

SIDE = 192
ROUNDS = 3
WORTH = 1.5  # times faster; below this, the choice would hang on what else the machine does
TRAINED = (4, 64, 48, 48)  # (B, C, H, W) of the layer that a training's trial runs
TRAINING_WORTH = 1.3  # times faster, forward and backward
AGREEMENT = 0.01  # largest difference of means, normalised, that rounding explains

_VERDICTS: dict[NetworkConfig, bool] = {}
"""Of this process, by the size of the network: its weights do not change the time."""


def require_known(precision: str) -> None:
    """Refuse any that is none of `PRECISIONS`.

    Raises:
        InvalidOption: naming those.
    """
    if precision not in PRECISIONS:
        raise InvalidOption(f"precision must be auto, float32 or bfloat16, not {precision!r}")


def pays(network: ShuffleUNet, make_float32: Callable[[], Run], make_bfloat16: Callable[[], Run]) -> bool:
    """Whether bfloat16 gives the same means as float32 and is at least `WORTH` times faster; tried once a size.

    Args:
        make_float32: makes what runs the network in float32, on as many threads as torch has.
        make_bfloat16: the same in bfloat16. Both are called only if this CPU and this torch could be fast with it.
    """
    if network.config not in _VERDICTS:
        with _one_thread():
            _VERDICTS[network.config] = _can() and _try(network, make_float32(), make_bfloat16())
    return _VERDICTS[network.config]


@cache
def training_pays() -> bool:
    """Whether a convolution's forward and backward passes are `TRAINING_WORTH` times faster; tried once a process."""
    if not _can():
        return False
    x = torch.full(TRAINED, 0.5).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.full((TRAINED[1], TRAINED[1], 3, 3), 0.01).contiguous(memory_format=torch.channels_last)
    weight.requires_grad_()

    def run(dtype: torch.dtype) -> float:
        started = time.thread_time()
        y = torch.nn.functional.conv2d(x.to(dtype), weight.to(dtype), padding=1)
        torch.autograd.grad(y.sum(), (x, weight))
        return time.thread_time() - started

    with _one_thread():
        rounds = [(run(torch.float32), run(torch.bfloat16)) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    slow, fast = (min(times) for times in zip(*rounds, strict=True))
    return bool(slow >= TRAINING_WORTH * fast)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _can() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _try(network: ShuffleUNet, float32: Run, bfloat16: Run) -> bool:
    side = -(-SIDE // network.stride) * network.stride
    window = np.random.default_rng(0).normal(0.5, 0.1, (network.config.inputs, side, side)).astype(np.float32)
    expected, found = float32(window, False)[0], bfloat16(window, False)[0]  # also warms both up
    if not np.abs(found - expected).max() < AGREEMENT:  # NaN is no agreement either
        return False
    rounds = [(_seconds(float32, window), _seconds(bfloat16, window)) for _ in range(ROUNDS)]
    slow, fast = (min(times) for times in zip(*rounds, strict=True))
    return bool(slow >= WORTH * fast)


def _seconds(run: Run, window: Floats) -> float:
    started = time.thread_time()
    run(window, False)
    return time.thread_time() - started
