"""Denoise many files at once, so that a second run does only what the first one left."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from .errors import B2SError, LimitReached, TimedOut, Unreachable
from .inputs import STDIO, Task
from .sync import Client
from .types import Denoised, Options, Progress

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    `state` is `done`, `skipped` (its result was there), `failed`, or `late`: the job goes on, another run fetches it.
    """

    task: Task
    state: str
    seconds: float = 0.0
    job_id: str | None = None
    model: str | None = None
    alpha: float | None = None
    sigma: float | None = None
    error: str | None = None
    saved: Path | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        facts = {"model": self.model, "alpha": self.alpha, "sigma": self.sigma, "warnings": list(self.warnings)}
        facts["error"] = self.error
        return {
            "input": str(self.task.source),
            "output": str(self.saved or self.task.target),
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "job_id": self.job_id,
        } | facts


def denoise_all(
    client: Client,
    tasks: Sequence[Task],
    options: Options,
    *,
    parallel: int,
    overwrite: bool,
    timeout: float,
    on_outcome: Callable[[Outcome], None],
    on_progress: Callable[[Task, Progress], None] | None = None,
) -> None:
    """Denoise every task, `parallel` at a time; tells `on_outcome` of each. One bad file does not stop the others.

    `on_progress` is told of long jobs by the threads that follow them.

    Threads with the plain client take half the CPU time a file that an event loop takes. They are daemons: whoever
    interrupts this waits for no request, and none of them writes a result after that.

    Raises:
        Unreachable, LimitReached: the service is gone, or the quota of the day is; going on would only repeat that for
            every file.
    """
    run = _Run(client, options, parallel, overwrite, timeout, on_progress)
    for task in tasks:
        run.left.put(task)
    for number in range(min(parallel, len(tasks))):
        threading.Thread(target=run.work, name=f"b2s-{number}", daemon=True).start()
    try:
        for _ in tasks:
            outcome = run.ended.get()
            if isinstance(outcome, BaseException):
                raise outcome
            on_outcome(outcome)
    finally:
        run.stop()


class _Run:
    """What the threads of one `denoise_all` share."""

    def __init__(
        self,
        client: Client,
        options: Options,
        parallel: int,
        overwrite: bool,
        timeout: float,
        on_progress: Callable[[Task, Progress], None] | None,
    ) -> None:
        self.left: SimpleQueue[Task] = SimpleQueue()
        self.ended: SimpleQueue[Outcome | BaseException] = SimpleQueue()
        self._client = client
        self._options = options
        self._overwrite = overwrite
        self._timeout = timeout
        self._on_progress = on_progress
        self._parallel = parallel
        self._saves = threading.BoundedSemaphore(parallel)
        self._stopped = False

    def work(self) -> None:
        """Take tasks until none is left, or until something ends the whole run."""
        with suppress(Empty):
            while not self._stopped:
                task = self.left.get_nowait()
                try:
                    self.ended.put(self._outcome(task))
                except BaseException as error:
                    self.ended.put(error)
                    return

    def stop(self) -> None:
        """Let no thread begin another file; returns once none writes a result, and none will."""
        self._stopped = True
        for _ in range(self._parallel):
            self._saves.acquire()

    def _outcome(self, task: Task) -> Outcome:
        begin = time.perf_counter()
        try:
            found = None if self._overwrite or task.target == STDIO else task.found
            if found is not None:
                return Outcome(task, "skipped", saved=found)
            done = self._denoised(task)
        except Unreachable:
            raise
        except TimedOut as late:
            return Outcome(task, "late", time.perf_counter() - begin, late.job.id, error=str(late))
        except (B2SError, OSError) as error:
            if isinstance(error, LimitReached) and error.is_quota:
                raise
            return Outcome(task, "failed", time.perf_counter() - begin, error=str(error))
        seconds = time.perf_counter() - begin
        return Outcome(
            task, "done", seconds, done.job_id, done.model, done.alpha, done.sigma,
            saved=task.target_of(done.media_type), warnings=tuple(done.warnings),
        )  # fmt: skip

    def _denoised(self, task: Task) -> Denoised:
        image = _image(task.source)
        key = request_key(image, self._options)
        if task.target != STDIO:
            task.target.parent.mkdir(parents=True, exist_ok=True)
        on_progress = None if self._on_progress is None else partial(self._on_progress, task)
        done = self._client.denoise_bytes(
            image, key=key, timeout=self._timeout, on_progress=on_progress, **self._options
        )
        with self._saves:
            if not self._stopped:
                _save(done, task)
        return done


def _image(source: Path) -> bytes | Path:
    """What to send: the bytes of stdin or of a small file, or the file to stream from."""
    if source == STDIO:
        return sys.stdin.buffer.read()
    return source.read_bytes() if source.stat().st_size <= READ_BYTES else source


def _save(done: Denoised, task: Task) -> None:
    if task.target == STDIO:
        sys.stdout.buffer.write(done.data)
        sys.stdout.buffer.flush()
    else:
        done.save(task.target_of(done.media_type))


def request_key(image: bytes | Path, options: Options) -> str:
    """The same image with the same options has the same key: a run that was cut off finds its jobs again."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    if isinstance(image, bytes):
        digest.update(image)
    else:
        with image.open("rb") as file:
            while chunk := file.read(READ_BYTES):
                digest.update(chunk)
    return f"b2s-{digest.hexdigest()}"
