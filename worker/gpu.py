"""How busy, full and warm the GPUs are, asked of the driver (NVML) at each scrape; nothing on a machine without one.

NVML is no CUDA: it makes no context, so that a worker's main process, whose children own the device, may ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pynvml
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class GpuCollector(Collector):
    """Every GPU of the machine by its number: those the driver shows this container."""

    def collect(self) -> Iterator[Metric]:
        """One gauge a quantity; one that the device does not know (or is asked too early for) is left out."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return  # no driver, so no GPU
        try:
            yield from _gauges()
        except pynvml.NVMLError:
            return  # the driver went away between two questions
        finally:
            pynvml.nvmlShutdown()


def _gauges() -> list[Metric]:
    busy = GaugeMetricFamily("b2s_gpu_busy_ratio", "Share of the last moments with work on the GPU.", labels=["gpu"])
    used = GaugeMetricFamily("b2s_gpu_memory_used_bytes", "GPU memory in use, by whomever.", labels=["gpu"])
    total = GaugeMetricFamily("b2s_gpu_memory_bytes", "GPU memory there is.", labels=["gpu"])
    watts = GaugeMetricFamily("b2s_gpu_power_watts", "Power the GPU draws.", labels=["gpu"])
    warmth = GaugeMetricFamily("b2s_gpu_celsius", "Temperature of the GPU.", labels=["gpu"])
    questions: list[tuple[GaugeMetricFamily, Callable[[Any], float]]] = [
        (busy, lambda gpu: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100),
        (used, lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).used),
        (total, lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).total),
        (watts, lambda gpu: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000),
        (warmth, lambda gpu: pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU)),
    ]
    for number in range(pynvml.nvmlDeviceGetCount()):
        gpu, label = pynvml.nvmlDeviceGetHandleByIndex(number), [str(number)]
        for gauge, ask in questions:
            try:
                gauge.add_metric(label, ask(gpu))
            except pynvml.NVMLError:
                continue  # a slice of a shared GPU does not know its power, for one
    return [busy, used, total, watts, warmth]
