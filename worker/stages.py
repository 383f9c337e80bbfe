"""How long each stage of a job takes, for metrics, the job's timings and its trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from store.traces import stage_span


class Stages:
    """Seconds by stage, added up where a stage is entered more than once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            with stage_span(name):
                yield
        finally:
            self.add(name, time.perf_counter() - begin)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 6)
