"""A stand-in for NVIDIA's driver library: this project's machines have none."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest


def driver(monkeypatch: pytest.MonkeyPatch, gpus: int, powerless: bool = False) -> list[str]:
    """Let `pynvml` find so many GPUs; the list grows with every init and shutdown."""
    calls: list[str] = []

    def power(gpu: int) -> int:
        if powerless:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 250_000 + gpu

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: calls.append("init"))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: gpus)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda gpu: SimpleNamespace(gpu=40 + gpu))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda gpu: SimpleNamespace(used=2**30, total=8 * 2**30))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", power)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", lambda gpu, sensor: 55)
    return calls
