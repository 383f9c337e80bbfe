"""One poller for every request that waits: a thousand waiters cost one query a tick, not a thousand.

Workers announce the ends of jobs (`completion_listener.py`); the poller is there for what was not heard, and progress.
"""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

SLOWEST_TICK = 0.25
TICK_SHARE = 0.03
"""The tick is this share of a wait, between B2S_POLL_SECONDS and the bound above: a short job is answered within
milliseconds of its end, and long ones do not keep the database busy. The wait is that of the newest waiter so far, or
the shortest of the last few that ended, if that is longer. While ends are heard of, the tick is the slowest."""

REMEMBERED_WAITS = 8
REMEMBERED_ENDS = 256
"""Ends heard before anybody waited for them: a tiny image is denoised before its request has sat down to wait."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a job is: the number of its newest event, and whether it has ended."""

    event_seq: int
    final: bool


Marks = Callable[[Collection[str]], Awaitable[Mapping[str, Mark]]]
"""Looks up many jobs in one query. A job that is gone is missing from the answer."""

GONE = Mark(event_seq=2**62, final=True)
"""What a waiter is told about a job whose row is gone: wake up and see for yourself."""


@dataclass(eq=False, slots=True)
class _Waiter:
    after_seq: int | None  # None: only the end of the job wakes this waiter
    since: float
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def concerned(self, mark: Mark) -> bool:
        return mark.final or (self.after_seq is not None and mark.event_seq > self.after_seq)


class JobWatcher:
    """Holds requests until their jobs move on. One task asks the database; it sleeps while nobody waits."""

    def __init__(self, marks: Marks, fastest_tick: float, on_count: Callable[[int], None]) -> None:
        """`marks` looks jobs up, `fastest_tick` is in seconds, `on_count` hears how many wait whenever that changes."""
        self._marks = marks
        self._fastest_tick = fastest_tick
        self._on_count = on_count
        self._waiters: dict[str, set[_Waiter]] = defaultdict(set)
        self._arrival = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._closed = False
        self._count = 0
        self._past_waits: deque[float] = deque(maxlen=REMEMBERED_WAITS)
        self._past_ends: deque[str] = deque(maxlen=REMEMBERED_ENDS)
        self.hearing = False
        """Whether ends are announced to `heard`, so that looking for them is the exception."""

    def __len__(self) -> int:
        return self._count

    @property
    def closed(self) -> bool:
        """True once the gateway is shutting down: waits end at once, so answer with what is known."""
        return self._closed

    def start(self) -> None:
        """Start the poller; call from the running event loop."""
        self._poller = asyncio.create_task(self._poll(), name="job poller")

    def close(self) -> None:
        """End every wait now and refuse new ones, so that a stopping server does not hang on open requests."""
        self._closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    async def stop(self) -> None:
        """Close, and end the poller."""
        self.close()
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller

    def heard(self, job_id: str) -> None:
        """A worker says that this job has ended. Call from the event loop."""
        self._past_ends.append(job_id)
        for waiter in self._waiters.get(job_id, ()):
            waiter.woken.set()

    def forget(self, name: str) -> None:
        """What ended under this name before has begun anew."""
        if name in self._past_ends:
            self._past_ends.remove(name)

    async def final(self, job_id: str, seconds: float) -> None:
        """Return when the job has ended, `seconds` have passed, or the room has closed. The database knows which."""
        await self._wait(job_id, None, seconds)

    async def changed(self, job_id: str, after_seq: int, seconds: float) -> bool:
        """As `final`, but any event newer than `after_seq` ends the wait; False if the time was over first."""
        return await self._wait(job_id, after_seq, seconds)

    async def _wait(self, job_id: str, after_seq: int | None, seconds: float) -> bool:
        if self._closed or seconds <= 0:
            return False
        with self._present(job_id, after_seq) as waiter:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter.woken.wait()
            if after_seq is None:
                self._past_waits.append(time.monotonic() - waiter.since)
            return waiter.woken.is_set()

    @contextlib.contextmanager
    def _present(self, job_id: str, after_seq: int | None) -> Iterator[_Waiter]:
        waiter = _Waiter(after_seq, since=time.monotonic())
        self._waiters[job_id].add(waiter)
        self._arrival.set()
        if job_id in self._past_ends:
            waiter.woken.set()
        self._counted(1)
        try:
            yield waiter
        finally:
            waiters = self._waiters[job_id]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[job_id]
            self._counted(-1)

    def _counted(self, change: int) -> None:
        self._count += change
        self._on_count(self._count)

    async def _poll(self) -> None:
        while True:
            if not self._waiters:
                self._arrival.clear()
                await self._arrival.wait()
            await asyncio.sleep(self._tick())
            if not self._waiters:  # those woken at the last tick have left meanwhile
                continue
            try:
                asked = list(self._waiters)
                self._wake(asked, await self._marks(asked))
            except Exception:
                # The database may be restarting. The waiters' own timeouts bound the damage; the next tick asks again.
                log.exception("polling for finished jobs failed")
                await asyncio.sleep(1.0)

    def _tick(self) -> float:
        if self.hearing:
            return SLOWEST_TICK
        now = time.monotonic()
        newest = min((now - waiter.since for waiters in self._waiters.values() for waiter in waiters), default=0.0)
        wait = max(newest, min(self._past_waits, default=0.0))
        return max(min(wait * TICK_SHARE, SLOWEST_TICK), self._fastest_tick)

    def _wake(self, asked: Collection[str], marks: Mapping[str, Mark]) -> None:
        """Wake whom the answer concerns. A job that came while the question was under way was not asked for."""
        for job_id in asked:
            mark = marks.get(job_id, GONE)
            for waiter in self._waiters.get(job_id, ()):
                if waiter.concerned(mark):
                    waiter.woken.set()
