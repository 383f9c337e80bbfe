"""When to send a request again, and how long to wait before."""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx

RETRIABLE = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Retries:
    """Exponential backoff with full jitter (Brooker, 2015); a server's `Retry-After` is heeded instead.

    Every request of this client may be repeated: reads change nothing, cancel and delete can be asked for twice, and a
    post carries an Idempotency-Key, so that the second one finds the job of the first.
    """

    attempts: int = 5
    base_seconds: float = 0.25
    most_seconds: float = 20.0

    def pause(self, attempt: int, response: httpx.Response | None) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None: do not send it again."""
        if attempt >= self.attempts or (response is not None and response.status_code not in RETRIABLE):
            return None
        asked = response.headers.get("retry-after", "") if response is not None else ""
        if asked.isdecimal():
            return min(float(asked), self.most_seconds)
        return random.uniform(0, min(self.base_seconds * 2**attempt, self.most_seconds))
