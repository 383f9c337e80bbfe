"""A multipart body part by part, so that ten thousand images never wait in memory, or on open files, for the last one.

Starlette's parser keeps every file of a form until its end; this one hands each over and closes it before it reads on.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO

from anyio import to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service import problems

SPOOL_BYTES = 1024 * 1024
MAX_FIELD_BYTES = 4096


@dataclass(slots=True)
class Part:
    """One part: a text field (`file` None, its bytes in `value`), or a file at position 0 that is closed afterwards."""

    name: str = ""
    filename: str | None = None
    file: IO[bytes] | None = None
    value: bytearray = field(default_factory=bytearray)
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    async def take(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            InvalidRequest: a text field is too long.
        """
        self.size += len(data)
        if self.file is None:
            if self.size > MAX_FIELD_BYTES:
                raise _broken(f"The field {self.name[:60]!r} has more than {MAX_FIELD_BYTES} bytes")
            self.value += data
            return
        self.digest.update(data)
        if self.size <= SPOOL_BYTES:
            self.file.write(data)  # memory only: not worth a thread
        else:
            await to_thread.run_sync(self.file.write, data)

    def opened(self) -> Part:
        """Itself, with a file to write to if it is one."""
        if self.filename is not None:
            self.file = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - `close` is called by `read_parts`
        return self

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


async def read_parts(request: Request) -> AsyncGenerator[Part, None]:
    """The parts of a multipart request in order, each whole. Use it within `contextlib.aclosing`.

    Raises:
        InvalidRequest: the form cannot be read.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    reader = _Reader(options.get(b"boundary", b""))
    open_part: Part | None = None
    try:
        async for chunk in request.stream():
            for event in reader.feed(chunk):
                if isinstance(event, Part):
                    open_part = event.opened()
                elif isinstance(event, bytes):
                    assert open_part is not None
                    await open_part.take(event)
                elif open_part is not None:
                    if open_part.file is not None:
                        open_part.file.seek(0)
                    yield open_part
                    open_part.close()
                    open_part = None
        reader.finish()
    finally:
        if open_part is not None:
            open_part.close()


class _End:
    """The end of a part."""


Event = Part | bytes | _End


class _Reader:
    """The parser's callbacks as a list of events."""

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise _broken("The Content-Type names no boundary")
        self._events: list[Event] = []
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                    "on_part_end": lambda: self._events.append(_End()),
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _broken("The boundary cannot be read") from error

    def feed(self, chunk: bytes) -> list[Event]:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken("It is damaged") from error
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """The body is over: was the form, too?"""
        if not self._ended:
            raise _broken("It is cut off")

    def _end(self) -> None:
        self._ended = True

    def _begin(self) -> None:
        self._disposition = b""

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise _broken("A part has no name")
        name = options[b"name"].decode("utf-8", "replace")
        if b"filename" not in options:
            self._events.append(Part(name))
            return
        filename = options[b"filename"].decode("utf-8", "replace")
        self._events.append(Part(name, filename))


def _broken(what: str) -> problems.InvalidRequest:
    return problems.InvalidRequest(
        f"The multipart form cannot be read: {what}. Send each image as a file field `images`, and each option as a "
        f"text field of at most {MAX_FIELD_BYTES} bytes."
    )
