"""The one way in for bytes: a request body, multipart or raw, as files that come one by one and fields beside them."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO

from anyio import to_thread
from fastapi import Request

from images.probe import READ_TYPES, ImageInfo, Limits, probe
from service.http import problems
from service.intake.body_limit import too_large
from service.intake.fields import Given, refused_field
from service.intake.header_options import TooManyOptions, options_of
from service.intake.multipart import MultipartReader, PartBegin

SPOOL_BYTES = 1024 * 1024
"""Files up to this size stay in memory; larger ones go to a temporary file (in TMPDIR), so memory stays flat."""

MAX_FIELD_BYTES = 4096
MAX_TITLE = 200
"""Characters of a file's name that are kept."""

RAW_NAME = "upload"
"""File name of a raw body, which has none."""


class Part:
    """One file of a request, spooled. Whoever receives it closes it: `with part:`."""

    def __init__(self, name: str, filename: str | None = None, max_bytes: int | None = None) -> None:
        """`name` is the field that it came in; `max_bytes` bounds it, None: the limit of the body does."""
        self.name = name
        self.filename = filename
        self.size = 0
        self._max_bytes = max_bytes
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - see `close`
        self._sha256: str | None = None

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give memory or disk back."""
        self._file.close()

    @property
    def title(self) -> str | None:
        """What the sender calls the file, or None: printable, without folders, at most `MAX_TITLE` long."""
        if self.filename == RAW_NAME:
            return None
        plain = "".join(c if c.isprintable() else "?" for c in self.filename or "")
        return plain.replace("\\", "/").rsplit("/", 1)[-1][-MAX_TITLE:] or None

    async def take(self, data: bytes) -> None:
        """Add bytes. Raises ContentTooLarge."""
        self.size += len(data)
        if self._max_bytes is not None and self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        if self.size <= SPOOL_BYTES:
            self._file.write(data)  # memory only: not worth a thread
        else:
            await to_thread.run_sync(self._file.write, data)

    def whole(self) -> Part:
        """Itself, after its last byte: on the disk as far as it is not in memory."""
        self._file.flush()
        return self

    def sha256(self) -> str:
        """Hex digest of the bytes, made once. Blocking."""
        if self._sha256 is None:
            self._file.seek(0)
            self._sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()  # type: ignore[arg-type]  # any file
        return self._sha256

    def content(self) -> bytes | IO[bytes]:
        """The bytes as the blob store takes them: a small file as they are, a large one open. Blocking."""
        if self.size <= SPOOL_BYTES:
            return self.head(self.size)
        self._file.seek(0)
        return self._file

    def head(self, size: int) -> bytes:
        """The first bytes. Blocking."""
        self._file.seek(0)
        return self._file.read(size)

    def probe(self, limits: Limits) -> ImageInfo:
        """What the header says, sniffed from the bytes; file name and declared type are never asked. Blocking.

        Raises:
            ImageError: it is no image that is read here, or a broken or too large one.
        """
        if self.size <= SPOOL_BYTES:
            return probe(self.head(self.size), limits)
        return probe(memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)), limits)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the body of a route may be.

    Attributes:
        files: the form field that brings files; a raw body is one file of it.
        many: a second one, whose files `max_bytes` does not bound: a form has files of one of both.
        raw_types: media types of a raw body, besides those of images and `application/octet-stream`.
        remedy: how to send it right.
        max_bytes: of one file; None: as many as the body may have.
        at_once: whether a field that nobody knows ends the reading; where a body is bounded closely, all of them are
            named at its end.
    """

    files: str
    raw_types: frozenset[str]
    remedy: str
    max_bytes: int | None = None
    at_once: bool = False
    many: str | None = None

    def broken(self, what: str) -> problems.InvalidRequest:
        """The refusal of a form that cannot be read."""
        return problems.InvalidRequest(
            f"The multipart form cannot be read: {what}. {self.remedy} Each option is a text field of at most "
            f"{MAX_FIELD_BYTES} bytes."
        )


async def read_files(request: Request, expected: Expected, given: Given) -> AsyncGenerator[Part, None]:
    """The files of a body in order, each whole; its text fields go to `given` as they come.

    Use it within `contextlib.aclosing`, and close each part.

    Raises:
        ContentTooLarge: a file has more bytes than it may.
        InvalidRequest: the form cannot be read, or a field of it is refused.
        UnsupportedMediaType: neither multipart nor a media type of a raw body.
    """
    sent = media_type(request)
    if sent == "multipart/form-data":
        form = _files_of_form(request, expected, given)
        try:
            async for part in form:
                yield part
        finally:
            await form.aclose()
    elif sent.startswith("image/") or sent in {"application/octet-stream", *READ_TYPES, *expected.raw_types}:
        archive = expected.many is not None and sent in expected.raw_types
        yield await read_raw(request, expected.files, None if archive else expected.max_bytes)
    else:
        raise problems.UnsupportedMediaType(f"The Content-Type is {sent or 'none'}. {expected.remedy}")


async def read_raw(request: Request, name: str, max_bytes: int | None) -> Part:
    """The whole body as one file, whatever its type. Raises ContentTooLarge."""
    part = Part(name, RAW_NAME, max_bytes)
    try:
        async for chunk in request.stream():
            await part.take(chunk)
    except BaseException:
        part.close()
        raise
    return part.whole()


def media_type(request: Request) -> str:
    """The body's type without its parameters, in lower case; empty if it is not said."""
    return request.headers.get("content-type", "").partition(";")[0].strip(" \t").lower()


class _Field:
    """A text field as it comes."""

    def __init__(self, name: str, expected: Expected) -> None:
        self.name = name
        self._expected = expected
        self._value = bytearray()

    async def take(self, data: bytes) -> None:
        """Add bytes. Raises InvalidRequest."""
        if len(self._value) + len(data) > MAX_FIELD_BYTES:
            raise self._expected.broken(f"The field {self.name[:60]!r} has more than {MAX_FIELD_BYTES} bytes")
        self._value += data

    def text(self) -> str:
        return self._value.decode("utf-8", "replace")


async def _files_of_form(request: Request, expected: Expected, given: Given) -> AsyncGenerator[Part, None]:
    try:
        parameters = options_of(request.headers.get("content-type", "").encode("latin-1"))
    except TooManyOptions as error:
        raise expected.broken(f"The Content-Type has {error}") from None
    reader = MultipartReader(parameters.get(b"boundary", b""), expected.broken)
    current: Part | _Field | None = None
    try:
        async for chunk in request.stream():
            for event in reader.feed(chunk):
                if isinstance(event, PartBegin):
                    current = _begun(event, expected)
                elif isinstance(event, bytes):
                    assert current is not None
                    await current.take(event)
                else:
                    ended, current = current, None
                    if isinstance(ended, Part):
                        yield ended.whole()
                    elif ended is not None:
                        _keep(ended, expected, given)
        reader.finish()
    finally:
        if isinstance(current, Part):
            current.close()


def _begun(event: PartBegin, expected: Expected) -> Part | _Field:
    if event.filename is None:
        return _Field(event.name, expected)
    if event.name not in (expected.files, expected.many):
        raise refused_field(event.name, f"only `{expected.files}` may be a file")
    return Part(event.name, event.filename, expected.max_bytes if event.name == expected.files else None)


def _keep(field: _Field, expected: Expected, given: Given) -> None:
    if field.name in (expected.files, expected.many):
        raise refused_field(field.name, f"it has to be a file, as in curl -F {field.name}=@photo.png")
    given.add(field.name, field.text())
    if expected.at_once:
        given.require_known(field.name)
