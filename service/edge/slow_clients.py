"""uvicorn's HTTP protocol, without patience for clients that hold a connection and say nothing (Slowloris).

uvicorn bounds neither the time nor the size of a request head. A proxy in front does; so does this, for those who have
none. Slow bodies are the business of `service.body_limit`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.edge.connections import Connections

HEAD_SECONDS = 20.0
"""For a whole request head, from the connection or from its first byte on."""

HEAD_SECONDS_WHEN_NEARLY_FULL = 3.0

HEAD_BYTES = 64 * 1024


class ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection whose request head is late, and refuses one that is too large; all of them are counted."""

    head_seconds = HEAD_SECONDS
    head_bytes = HEAD_BYTES

    def __init__(self, *args: Any, connections: Connections | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counted = connections
        self._head_clock: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_clock()
        if self._counted is not None:
            self._counted.enter(self, self.client[0] if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        if self._counted is not None:
            self._counted.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._head_received += len(data)
        if self._head_received > self.head_bytes:
            self.send_400_response(f"The request head has more than {self.head_bytes} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_received = 0
        if self._head_clock is None:  # of a later request on this connection
            self._start_clock()
            if self._counted is not None:
                self._counted.waits(self)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_clock()
        if self._counted is not None:
            self._counted.works(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._counted is not None and not self.transport.is_closing() and self.cycle.response_complete:
            self._counted.waits(self)

    def _start_clock(self) -> None:
        hurried = self._counted is not None and self._counted.nearly_full
        seconds = min(self.head_seconds, HEAD_SECONDS_WHEN_NEARLY_FULL) if hurried else self.head_seconds
        self._head_clock = self.loop.call_later(seconds, self.give_up)

    def _stop_clock(self) -> None:
        if self._head_clock is not None:
            self._head_clock.cancel()
            self._head_clock = None

    def give_up(self) -> None:
        """Close the connection without an answer."""
        self._stop_clock()
        if not self.transport.is_closing():
            self.transport.close()
