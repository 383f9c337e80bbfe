"""When to send a request again, and how long to wait before."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

RETRIABLE = frozenset({429, 502, 503, 504})

CENTURY_SECONDS = 100 * 365 * 86_400.0
"""More than this is as good as never, and a date so far off might not exist."""


@dataclass(frozen=True)
class Retries:
    """Exponential backoff with full jitter (Brooker, 2015); a server's `Retry-After` is heeded instead.

    Every request of this client may be repeated: reads change nothing, cancel and delete can be asked for twice, and a
    post carries an Idempotency-Key, so that the second one finds the job of the first.

    Attributes:
        attempts: how often a request is sent at most.
        base_seconds, most_seconds: of the backoff where the server names no time.
        longest_seconds: a `Retry-After` up to this is waited for; a longer one (a quota of the day is used up) is not a
            hiccup, and the caller hears of it at once.
    """

    attempts: int = 5
    base_seconds: float = 0.25
    most_seconds: float = 20.0
    longest_seconds: float = 60.0

    def pause(self, attempt: int, response: httpx.Response | None) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None: do not send it again."""
        if attempt >= self.attempts or (response is not None and response.status_code not in RETRIABLE):
            return None
        asked = retry_after(response) if response is not None else None
        if asked is not None:
            return asked if asked <= self.longest_seconds else None
        return random.uniform(0, min(self.base_seconds * 2**attempt, self.most_seconds))


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that a server asks to wait, by number or by date (RFC 9110, section 10.2.3); None: it does not say."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text), CENTURY_SECONDS)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    # A date that names no zone (-0000) is UTC.
    return max((date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
