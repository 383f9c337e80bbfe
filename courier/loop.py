"""Take what is due, a few at a time, and deliver it; one receiver that is slow keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

import structlog
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from courier.lookups import Lookups
from courier.metrics import CourierMetrics
from courier.sender import Sender
from store.webhooks import Delivery, DeliveryState, Webhooks

IDLE_SECONDS = 0.5
AFTER_ERROR_SECONDS = 2.0
AT_ONCE = 64
AT_ONCE_PER_TENANT = 8
FORGET_EVERY_SECONDS = 3600.0
FORGET_AT_ONCE = 500

log = structlog.get_logger(__name__)


class Courier:
    """Delivers until told to stop; what is under way then is finished."""

    def __init__(
        self, webhooks: Webhooks, sender: Sender, lookups: Lookups, keep_days: float, metrics: CourierMetrics
    ) -> None:
        self._webhooks = webhooks
        self._sender = sender
        self._lookups = lookups
        self._keep_days = keep_days
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._tenants: Counter[str] = Counter()
        self._forget_at = time.monotonic() + FORGET_EVERY_SECONDS

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping.set()

    async def run(self) -> None:
        """Deliver until `stop` is called."""
        log.info("courier_ready")
        while not self._stopping.is_set():
            try:
                idle = 0.0 if await self._take_one() else IDLE_SECONDS
                await self._forget()
            except SQLAlchemyError as error:  # it may be restarting; rows wait
                log.warning("database_away", reason=str(error).splitlines()[0])
                idle = AFTER_ERROR_SECONDS
            if idle:
                await self._pause(idle)
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _take_one(self) -> bool:
        """Start one delivery; False: none is due, or there are enough under way."""
        if len(self._under_way) >= AT_ONCE:
            return False
        held = self._tenants + self._lookups.abandoned()
        busy = [tenant for tenant, count in held.items() if count >= AT_ONCE_PER_TENANT]
        delivery = await to_thread.run_sync(self._webhooks.claim, busy)
        if delivery is None:
            return False
        self._tenants[delivery.tenant] += 1
        task = asyncio.create_task(self._deliver(delivery))
        self._under_way.add(task)
        self._metrics.set_under_way(len(self._under_way))
        task.add_done_callback(self._over)
        return True

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._metrics.set_under_way(len(self._under_way))

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            secrets = await to_thread.run_sync(self._webhooks.signing_secrets, delivery.tenant)
            attempt = await self._sender.send(delivery, secrets)
            after = await to_thread.run_sync(self._webhooks.record, delivery, attempt)
            age = (datetime.now(UTC) - delivery.created_at).total_seconds()
            self._metrics.observe_attempt(attempt.seconds, None if after is None else after.state, age)
            level = log.info if attempt.error is None else log.warning
            level(
                "webhook", delivery=delivery.id, job_id=delivery.job_id, tenant=delivery.tenant,
                number=delivery.attempts, status=attempt.status, reason=attempt.error,
                state=DeliveryState.PENDING if after is None else after.state, seconds=round(attempt.seconds, 3),
            )  # fmt: skip
        except SQLAlchemyError as error:  # the lease runs out, and it is delivered again
            log.warning("outcome_not_recorded", delivery=delivery.id, reason=str(error).splitlines()[0])
        finally:
            self._tenants[delivery.tenant] -= 1
            self._tenants += Counter()  # drops those at zero

    async def _forget(self) -> None:
        """Now and then drop old logs until none is left: a batch at a turn, so that no delivery waits for all."""
        if time.monotonic() < self._forget_at:
            return
        if await to_thread.run_sync(self._webhooks.forget_old, self._keep_days, FORGET_AT_ONCE) < FORGET_AT_ONCE:
            self._forget_at = time.monotonic() + FORGET_EVERY_SECONDS

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
