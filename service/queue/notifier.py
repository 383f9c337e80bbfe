"""Ring for workers without making any request wait for the broker."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from anyio import CapacityLimiter, to_thread

from store.broker import Broker
from store.job import Job
from store.pictures import Picture

RINGERS = 4
"""Threads that may ring at once. A broker that is down costs each about a second; requests keep their own threads."""

STOP_SECONDS = 0.5
"""How long rings under way may take when the gateway stops; the sweep makes up for the others."""


class Notifier:
    """Rings in the background. A ring that fails is made up for by the workers' sweep."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._limiter = CapacityLimiter(RINGERS)
        self._ringing: set[asyncio.Task[bool]] = set()

    def notify(self, job: Job) -> None:
        """Start ringing for a job that is committed; returns at once. Call from the event loop."""
        self._start(to_thread.run_sync(self._broker.ring, job.kind, job.id, limiter=self._limiter))

    def notify_of_picture(self, picture: Picture) -> None:
        """As `notify`; one that was asked for before was rung for, unless no ring waits."""
        ring = self._broker.ring_for_picture
        self._start(to_thread.run_sync(ring, picture.id, not picture.new, limiter=self._limiter))

    def _start(self, call: Coroutine[Any, Any, bool]) -> None:
        task = asyncio.ensure_future(call)
        self._ringing.add(task)  # the loop keeps weak references only
        task.add_done_callback(self._ringing.discard)

    async def stop(self) -> None:
        """Give the rings under way a moment, drop the others, and close the broker's connections."""
        if self._ringing:
            _, late = await asyncio.wait(self._ringing, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
        await to_thread.run_sync(self._broker.close)
