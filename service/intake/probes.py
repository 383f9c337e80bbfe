"""Looks at headers, in threads of their own: no key check and no download waits behind a header that takes its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from images.probe import Limits
from service.intake.parts import Part

Found = TypeVar("Found")

AT_A_TIME = 2
"""Probes that run at once. Each holds the interpreter's lock while it works, for as long as `images.budget` lets it."""


class Probes:
    """The threads of one gateway, and what they hold images to."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._limiter = CapacityLimiter(AT_A_TIME)

    async def run(self, look: Callable[[Part, Limits], Found], part: Part) -> Found:
        """What `look` finds; raises what it raises. One that has begun is waited for even if the client left."""
        return await to_thread.run_sync(look, part, self.limits, limiter=self._limiter)
