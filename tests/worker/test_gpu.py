"""What is told of GPUs: of each, what its driver knows; of none, nothing."""

from __future__ import annotations

import pynvml
import pytest
from prometheus_client import CollectorRegistry

from tests.harness.driver import driver
from worker.gpu import GpuCollector


def told() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(GpuCollector())
    return registry


def test_every_gpu_has_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = driver(monkeypatch, gpus=2)
    registry = told()
    calls.clear()
    second = {"gpu": "1"}
    assert registry.get_sample_value("b2s_gpu_busy_ratio", second) == 0.41
    assert registry.get_sample_value("b2s_gpu_memory_used_bytes", second) == 2**30
    assert registry.get_sample_value("b2s_gpu_memory_bytes", second) == 8 * 2**30
    assert registry.get_sample_value("b2s_gpu_power_watts", second) == 250.001
    assert registry.get_sample_value("b2s_gpu_celsius", {"gpu": "0"}) == 55
    assert calls == ["init", "shutdown"] * 5


def test_a_quantity_that_a_device_does_not_know_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    driver(monkeypatch, gpus=1, powerless=True)
    registry = told()
    assert registry.get_sample_value("b2s_gpu_power_watts", {"gpu": "0"}) is None
    assert registry.get_sample_value("b2s_gpu_celsius", {"gpu": "0"}) == 55


def test_a_machine_without_a_driver_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    assert list(GpuCollector().collect()) == []
    assert list(told().collect()) == []
