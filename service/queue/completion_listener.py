"""Hear from the workers that a job has ended, so that whoever waits need not wait for the next look at the database."""

import asyncio
import contextlib

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.queue.waiting import JobWatcher
from store.broker import CONNECT_SECONDS, ENDINGS

RETRY_SECONDS = 1.0
SILENCE_SECONDS = 5.0
"""How long Redis may say nothing before it is asked whether it is there."""

log = structlog.get_logger(__name__)


class CompletionListener:
    """Passes the workers' announcements on to the watcher of jobs; while deaf, it looks for itself more often."""

    def __init__(self, redis_url: str, watcher: JobWatcher) -> None:
        self._url = redis_url
        self._watcher = watcher
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start listening; call from the running event loop."""
        self._task = asyncio.create_task(self._listen_for_ever(), name="endings")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                if self._watcher.hearing:
                    log.warning("ends of jobs are no longer heard of; looking for them instead", reason=str(error))
            finally:
                self._watcher.hearing = False
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        """Until the connection breaks. A Redis that hangs is noticed by its silence after a ping."""
        client = Redis.from_url(self._url, socket_connect_timeout=CONNECT_SECONDS, decode_responses=True)
        async with client, client.pubsub() as channel:
            await channel.subscribe(ENDINGS)
            pinged = False
            while True:
                message = await channel.get_message(timeout=SILENCE_SECONDS)
                if message is not None:
                    self._watcher.hearing, pinged = True, False
                    if message["type"] == "message":
                        self._watcher.heard(message["data"])
                elif pinged:
                    raise TimeoutError("Redis does not answer")
                else:
                    await channel.ping()
                    pinged = True
