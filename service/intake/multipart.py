"""A multipart body as events: python-multipart's callbacks in order, so that a reader can act between two of them.

Starlette's own parser keeps every file of a form open until its end; ten thousand images would wait there for the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from service.http import problems
from service.intake.header_options import TooManyOptions, extended_filename, options_of


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins: a text field, or a file if it has a file name."""

    name: str
    filename: str | None


MAX_EMPTY_PARTS = 100
"""Parts without a file name and without a byte: a browser sends one for a file input that was left empty. They are
counted while they are parsed: a chunk holds thousands, and eight clients that sent them kept the loop for a second."""


class PartEnd:
    """The part is whole."""


Event = PartBegin | bytes | PartEnd
Broken = Callable[[str], problems.InvalidRequest]
"""Makes the refusal of a form that cannot be read, from what is wrong with it."""


class MultipartReader:
    """Feed it chunks, get events: a begin, bytes and an end for each part. Part headers are bounded by the parser."""

    def __init__(self, boundary: bytes, broken: Broken) -> None:
        if not boundary:
            raise broken("The Content-Type names no boundary")
        self._broken = broken
        self._events: list[Event] = []
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._ended = False
        self._empty, self._counts = 0, False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": self._data,
                    "on_part_end": self._part_end,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise broken("The boundary cannot be read") from error

    def feed(self, chunk: bytes) -> list[Event]:
        """What the chunk brings. Raises InvalidRequest."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise self._broken("It is damaged") from error
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """The body is over. Raises InvalidRequest if the form is not."""
        if not self._ended:
            raise self._broken("It is cut off")

    def _end(self) -> None:
        self._ended = True

    def _begin(self) -> None:
        self._disposition = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._counts = False
        self._events.append(data[start:end])

    def _part_end(self) -> None:
        self._empty += self._counts
        if self._empty > MAX_EMPTY_PARTS:
            raise self._broken(f"More than {MAX_EMPTY_PARTS} of its parts are empty")
        self._events.append(PartEnd())

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        try:
            options, extended = options_of(self._disposition), extended_filename(self._disposition)
        except TooManyOptions as error:
            raise self._broken(f"The Content-Disposition of a part has {error}") from None
        if b"name" not in options:
            raise self._broken("A part has no name")
        filename = options.get(b"filename")
        plain = None if filename is None else _text(filename)
        self._counts = not (plain or extended)
        self._events.append(PartBegin(_text(options[b"name"]), extended or plain))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
