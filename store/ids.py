"""Identifiers that sort by the time they were made: a prefix and a UUIDv7 (RFC 9562 §5.7)."""

from __future__ import annotations

import os
import re
import threading
import time

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """A new id such as `job_0192f0c1…` (32 hex digits); later calls in one process always sort after earlier ones."""
    return f"{prefix}_{_uuid7():032x}"


def is_id(prefix: str, value: str) -> bool:
    """Whether `value` has the form of an id made by `new_id(prefix)`; nothing else may become part of a blob key."""
    return re.fullmatch(rf"{re.escape(prefix)}_[0-9a-f]{{32}}", value) is not None


def _uuid7() -> int:
    stamp = _next_stamp()
    milliseconds, fraction = stamp >> 12, stamp & 0xFFF
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random


def _next_stamp() -> int:
    """Milliseconds with 12 bits of fraction (RFC 9562 §6.2, method 3), made strictly increasing in this process."""
    global _last
    nanoseconds = time.time_ns()
    stamp = (nanoseconds // 1_000_000) << 12 | (nanoseconds % 1_000_000) * 4096 // 1_000_000
    with _lock:
        _last = max(stamp, _last + 1)
        return _last
