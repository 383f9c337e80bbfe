"""A wire between a client and its servers: it balances between them, and can be made slow, cut or answered for.

Real TCP on both sides, so what a client sees is what it would see of a real network.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

CHUNK_BYTES = 64 * 1024

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Trouble:
    """What is wrong with the wire; set from any thread, holds for what passes from then on.

    Attributes:
        stalled: bytes are taken and kept, as by a server that hangs.
        refusing: every connection is answered with 503.
        cut_after: a connection breaks once the client has sent more bytes than this.
    """

    stalled: bool = False
    refusing: bool = False
    cut_after: int | None = None


@dataclass(frozen=True)
class Wire:
    """An open wire."""

    port: int
    trouble: Trouble


@contextmanager
def wire(ports: Sequence[int]) -> Iterator[Wire]:
    """Forward connections to servers on loopback ports, each to the next one that answers."""
    trouble, ready = Trouble(), threading.Event()
    loop = asyncio.new_event_loop()
    forwarder = _Forwarder(ports, trouble)
    thread = threading.Thread(target=loop.run_until_complete, args=[forwarder.run(ready)], daemon=True)
    thread.start()
    ready.wait()
    try:
        yield Wire(forwarder.port, trouble)
    finally:
        loop.call_soon_threadsafe(forwarder.over.set)
        thread.join()
        loop.close()


class _Forwarder:
    def __init__(self, ports: Sequence[int], trouble: Trouble) -> None:
        self._ports = itertools.cycle(ports)
        self._count = len(ports)
        self._trouble = trouble
        self.over = asyncio.Event()
        self.port = 0

    async def run(self, ready: threading.Event) -> None:
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self.over.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            try:
                if self._trouble.refusing:
                    await reader.read(CHUNK_BYTES)
                    writer.write(UNAVAILABLE)
                    await writer.drain()
                    return
                far_reader, far_writer = await self._reach()
                try:
                    await asyncio.gather(self._pump(reader, far_writer, True), self._pump(far_reader, writer, False))
                finally:
                    far_writer.transport.abort()
            finally:
                writer.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the next server that takes one."""
        for _ in range(self._count - 1):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", next(self._ports))
        return await asyncio.open_connection("127.0.0.1", next(self._ports))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upwards: bool) -> None:
        passed = 0
        while data := await reader.read(CHUNK_BYTES):
            while self._trouble.stalled:
                await asyncio.sleep(0.05)
            passed += len(data)
            if upwards and self._trouble.cut_after is not None and passed > self._trouble.cut_after:
                raise ConnectionResetError("cut")
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
