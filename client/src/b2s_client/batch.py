"""Denoise many files at once, so that a second run does only what the first one left."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from .batches import BatchResult
from .errors import B2SError, LimitReached, ProblemError, TimedOut, Unreachable, WrongAddress
from .inputs import STDIO, Task
from .loads import is_archive, loads, small
from .open_batches import OpenBatches
from .sync import Client
from .types import Denoised, Options, Progress

READ_BYTES = 1 << 20

FAREWELL_SECONDS = 10.0
"""How long one who interrupts waits for batches to stop, to keep what they have finished; again ends it at once."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    `state` is `done`, `skipped` (its result was there), `failed`, or `late`: the job goes on, another run fetches it.
    `index` is its place in the job, where that is a batch.
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
    index: int | None = None

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
            "index": self.index,
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

    Many small files go as batches. Whoever interrupts this has those canceled, and keeps what they have finished.

    Threads with the plain client take half the CPU time a file that an event loop takes. They are daemons: whoever
    interrupts this waits for no other request, and none of them writes a result after that.

    Raises:
        Unreachable, LimitReached: the service is gone, or the quota of the day is; going on would only repeat that for
            every file.
    """
    run = _Run(client, options, parallel, overwrite, timeout, on_progress)
    together = _together(client, small(tasks, overwrite))
    batched = {id(task) for load in together for task in load}
    left = [*together, *([task] for task in tasks if id(task) not in batched)]
    for load in left:
        run.left.put(load)
    for number in range(min(parallel, len(left))):
        threading.Thread(target=run.work, name=f"b2s-{number}", daemon=True).start()
    try:
        for _ in tasks:
            outcome = run.ended.get()
            if isinstance(outcome, BaseException):
                raise outcome
            on_outcome(outcome)
    except KeyboardInterrupt:
        for outcome in run.canceled():
            on_outcome(outcome)
        raise
    finally:
        run.stop()


def _together(client: Client, tasks: Sequence[Task]) -> list[list[Task]]:
    """The small files as batches; none where the service does not say what it takes as one, or may not be asked."""
    if not tasks:
        return []
    try:
        limits = client.batch_limits()
    except B2SError as error:
        if isinstance(error, Unreachable) and not isinstance(error, WrongAddress):
            raise
        return []
    return loads(tasks, limits)


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
        self.left: SimpleQueue[list[Task]] = SimpleQueue()
        self.ended: SimpleQueue[Outcome | BaseException] = SimpleQueue()
        self._client = client
        self._options = options
        self._overwrite = overwrite
        self._timeout = timeout
        self._on_progress = on_progress
        self._parallel = parallel
        self._saves = threading.BoundedSemaphore(parallel)
        self._leaving = False
        self._stopped = False
        self._batches = OpenBatches()

    def work(self) -> None:
        """Take tasks until none is left, or until something ends the whole run."""
        with suppress(Empty):
            while not self._leaving:
                load = self.left.get_nowait()
                try:
                    if len(load) == 1:
                        self.ended.put(self._outcome(load[0]))
                    else:
                        self._batch(load)
                except BaseException as error:
                    self.ended.put(error)
                    return

    def canceled(self) -> Iterator[Outcome]:
        """Let no thread begin anything, cancel the batches under way, and give what these have finished."""
        self._leaving = True
        deadline = time.monotonic() + FAREWELL_SECONDS
        self._batches.cancel(self._client)
        while time.monotonic() < deadline:
            open_before = len(self._batches)
            with suppress(Empty):
                while True:
                    outcome = self.ended.get(timeout=0.1 if open_before else 0.0)
                    if isinstance(outcome, Outcome) and outcome.state == "done":
                        yield outcome
            if not open_before:
                return

    def stop(self) -> None:
        """Let no thread begin another file; returns once none writes a result, and none will."""
        self._leaving = self._stopped = True
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
        return _done(task, done, time.perf_counter() - begin)

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

    # ---- batches ------------------------------------------------------------------------------------------------

    def _batch(self, load: Sequence[Task]) -> None:
        """Denoise small files as one job; those that cannot be sent so are left for jobs of their own."""
        begin = time.perf_counter()
        tasks, images = self._read(load)
        if not tasks:
            return
        with self._batches.one() as batch:
            try:
                batch.begun(self._client, self._client.submit_batch(images, **self._options).id)
            except ProblemError:  # each file may fare otherwise: it hears its own reason, and quotas may have room
                for task in tasks:
                    self.left.put([task])
                return
            open_ = dict(enumerate(tasks))
            state, words = "failed", f"{batch.job_id} has no result of it."
            try:
                for result in self._client.batch_results(batch.job_id, timeout=self._timeout):
                    if sent := open_.pop(result.index, None):
                        self.ended.put(self._of_batch(sent, result, time.perf_counter() - begin))
            except TimedOut as late:
                state, words = "late", str(late)
            except ProblemError as error:  # its bytes were deleted meanwhile, say
                words = str(error)
            for index, task in open_.items():
                self.ended.put(
                    Outcome(task, state, time.perf_counter() - begin, batch.job_id, error=words, index=index)
                )

    def _read(self, load: Sequence[Task]) -> tuple[list[Task], list[tuple[str, bytes]]]:
        """The files and what is in them; what cannot be read, or would be unpacked, is left for a job of its own."""
        tasks, images = [], []
        for task in load:
            data = b""
            with suppress(OSError):
                data = task.source.read_bytes()
            if not data or is_archive(data):
                self.left.put([task])
                continue
            tasks.append(task)
            images.append((task.source.name, data))
        return tasks, images

    def _of_batch(self, task: Task, result: BatchResult, seconds: float) -> Outcome:
        if result.image is None:
            words = result.error.detail if result.error else "no reason was given"
            return Outcome(task, "failed", seconds, result.job_id, error=words, index=result.index)
        try:
            task.target.parent.mkdir(parents=True, exist_ok=True)
            with self._saves:
                if not self._stopped:
                    _save(result.image, task)
        except OSError as error:
            return Outcome(task, "failed", seconds, result.job_id, error=str(error), index=result.index)
        return _done(task, result.image, seconds, result.index)


def _done(task: Task, image: Denoised, seconds: float, index: int | None = None) -> Outcome:
    return Outcome(
        task, "done", seconds, image.job_id, image.model, image.alpha, image.sigma,
        saved=task.target_of(image.media_type), warnings=tuple(image.warnings), index=index,
    )  # fmt: skip


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
