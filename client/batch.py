"""Denoise many files at once, so that a second run does only what the first one left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .aio import AsyncClient
from .errors import B2SError, LimitReached, Unreachable
from .inputs import Task
from .types import Options

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """What became of one file. `state` is `done`, `skipped` (its result was there) or `failed`."""

    task: Task
    state: str
    seconds: float = 0.0
    job_id: str | None = None
    model: str | None = None
    alpha: float | None = None
    sigma: float | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        facts = {"model": self.model, "alpha": self.alpha, "sigma": self.sigma, "error": self.error}
        return {
            "input": str(self.task.source),
            "output": str(self.task.target),
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "job_id": self.job_id,
        } | facts


async def denoise_all(
    client: AsyncClient,
    tasks: Sequence[Task],
    options: Options,
    *,
    parallel: int,
    overwrite: bool,
    timeout: float,
    on_outcome: Callable[[Outcome], None],
) -> None:
    """Denoise every task, `parallel` at a time; tells `on_outcome` of each. One bad file does not stop the others.

    Raises:
        Unreachable, LimitReached: the service is gone, or the quota of the day is; going on would only repeat that for
            every file.
    """
    left = iter(tasks)

    async def work() -> None:
        for task in left:
            if task.done and not overwrite:
                on_outcome(Outcome(task, "skipped"))
            else:
                on_outcome(await _denoise(client, task, options, timeout))

    workers = [asyncio.create_task(work()) for _ in range(min(parallel, len(tasks)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _denoise(client: AsyncClient, task: Task, options: Options, timeout: float) -> Outcome:
    begin = time.perf_counter()
    try:
        key = await asyncio.to_thread(request_key, task, options)
        task.target.parent.mkdir(parents=True, exist_ok=True)
        done = await client.denoise_file(task.source, task.target, key=key, timeout=timeout, **options)
    except Unreachable:
        raise
    except (B2SError, OSError) as error:
        if isinstance(error, LimitReached) and error.is_quota:
            raise
        return Outcome(task, "failed", time.perf_counter() - begin, error=str(error))
    seconds = time.perf_counter() - begin
    return Outcome(task, "done", seconds, done.job_id, done.model, done.alpha, done.sigma)


def request_key(task: Task, options: Options) -> str:
    """The same file with the same options has the same key: a run that was cut off finds its jobs again."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    with task.source.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return f"b2s-{digest.hexdigest()}"
