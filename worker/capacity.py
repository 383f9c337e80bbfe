"""How many jobs a denoise worker runs at a time, and on how many threads: told without importing torch."""

from __future__ import annotations

import os
from pathlib import Path

from store.settings import Settings

GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/dxg"))  # Linux, and WSL's
CPU_PROCESSES = 2  # one job's decoding and report fill the gaps of the other's computing


def denoise_processes(settings: Settings) -> int:
    """Processes of a denoise worker: as set, else one for a GPU and two for a CPU."""
    if settings.denoise_processes:
        return settings.denoise_processes
    has_gpu = settings.device.startswith("cuda") or (
        settings.device == "auto" and any(device.exists() for device in GPU_DEVICES)
    )
    return 1 if has_gpu else CPU_PROCESSES


def denoise_threads(settings: Settings) -> int:
    """CPU threads of each process: as set, else every core, since two jobs seldom compute at once."""
    return settings.denoise_threads or _cores()


def _cores() -> int:
    """Cores this process may use; a container's CPU set counts."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
