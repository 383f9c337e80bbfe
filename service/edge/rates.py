"""How often a tenant may ask: a token bucket in this process, so that a flood costs no query.

With several gateways each counts for itself: n of them together let n times as many through. What has to be exact,
pixels and unfinished jobs, is counted in the database.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.http import problems


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float  # monotonic seconds


class Rates:
    """One bucket a tenant, as large as a minute's requests. Call from the event loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}  # bounded by the tenants that have keys

    def take(self, tenant: str, per_minute: int | None) -> None:
        """Count one request; raise RateLimited when the tenant's minute is used up. None: no bound."""
        if per_minute is None:
            return
        now = self._clock()
        bucket = self._buckets.setdefault(tenant, _Bucket(per_minute, now))
        bucket.tokens = min(bucket.tokens + (now - bucket.filled) * per_minute / 60, per_minute)
        bucket.filled = now
        if bucket.tokens < 1:
            seconds = math.ceil((1 - bucket.tokens) * 60 / per_minute) if per_minute else 60
            raise problems.RateLimited(
                f"You may send {per_minute} requests a minute. Try again in {seconds} s; to wait for a job, "
                "`GET /jobs/{id}?wait=60` is one request.",
                headers={"Retry-After": str(seconds)},
            )
        bucket.tokens -= 1
