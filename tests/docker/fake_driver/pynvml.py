"""NVIDIA's driver as `worker.gpu` asks it, for machines without one: a GPU that is half full and never idle."""

# ruff: noqa: N802 - the names are NVIDIA's
from __future__ import annotations

from types import SimpleNamespace

NVML_TEMPERATURE_GPU = 0


class NVMLError(Exception):
    """Never raised here."""


def nvmlInit() -> None:
    """There is nothing to open."""


def nvmlShutdown() -> None:
    """Nor to close."""


def nvmlDeviceGetCount() -> int:
    return 1


def nvmlDeviceGetHandleByIndex(number: int) -> int:
    return number


def nvmlDeviceGetUtilizationRates(gpu: int) -> SimpleNamespace:
    return SimpleNamespace(gpu=40)


def nvmlDeviceGetMemoryInfo(gpu: int) -> SimpleNamespace:
    return SimpleNamespace(used=2**33, total=2**34)


def nvmlDeviceGetPowerUsage(gpu: int) -> int:
    return 250_000


def nvmlDeviceGetTemperature(gpu: int, sensor: int) -> int:
    return 55
