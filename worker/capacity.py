"""How many jobs a denoise worker runs at a time, and on how many threads: told without importing torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from store.settings import Settings

GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/dxg"))  # Linux, and WSL's
SMALL_PIXELS = 1 << 15
CPU_PROCESSES = 2  # one job's decoding and report fill the gaps of the other's computing


def denoise_processes(settings: Settings) -> int:
    """Processes of a denoise worker: as set, else one for a GPU and two for a CPU."""
    if settings.denoise_processes:
        return settings.denoise_processes
    has_gpu = settings.device.startswith("cuda") or (
        settings.device == "auto" and any(device.exists() for device in GPU_DEVICES)
    )
    return 1 if has_gpu else CPU_PROCESSES


def denoise_threads(settings: Settings, pixels: int, waiting: Callable[[], int]) -> int:
    """CPU threads for the next image: as set, else every core; or, while others wait, this process's share of them.

    A job alone ends sooner on all cores. Several do more in all on a core each, where no thread waits for another; and
    so does a small image, whose work is over before threads have found together.

    Args:
        pixels: of the image.
        waiting: asks how many jobs wait; not called where it does not matter.
    """
    if settings.denoise_threads:
        return settings.denoise_threads
    if pixels <= SMALL_PIXELS:
        return 1
    return max(1, _cores() // denoise_processes(settings)) if waiting() else _cores()


def _cores() -> int:
    """Cores this process may use; a container's CPU set counts."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
