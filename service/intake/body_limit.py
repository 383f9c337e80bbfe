"""Limit the bytes of a request body while it streams in, before any parser or spool sees more than the limit."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.problems import BodyStalled, ContentTooLarge, SetTooLarge, UnsupportedMediaType

FORM_OVERHEAD_BYTES = 64 * 1024
"""Room for multipart boundaries, part headers and option fields around the file, so that the limit is the file's."""

ARCHIVE_TYPES = frozenset(
    {
        "application/gzip",
        "application/x-gzip",
        "application/x-tar",
        "application/x-zip-compressed",
        "application/zip",
    }
)
"""Media types of archives of images."""

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 2.0
"""What of a refused body is still read (and thrown away) before the connection is closed: a client that only reads the
answer after it has written everything would otherwise see a reset connection and no reason."""

PATIENCE_SECONDS = 60.0
SLOWEST_BYTES_A_SECOND = 1024
"""A body may keep us waiting for so long in all, and longer at this rate: one that dribbles holds a connection for
nothing. Only waiting counts, not what we do with what came."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How many bytes a body may have, and the setting that says so."""

    bytes: int
    setting: str

    def broken(self, size: int | None = None) -> ContentTooLarge:
        """The refusal of a body of `size` bytes (None: unknown, it was cut off while streaming)."""
        if self.setting == "B2S_MAX_UPLOAD_BYTES":
            return too_large(self.bytes, size)
        actual = f"{size:,} bytes" if size is not None else f"more than {self.bytes:,} bytes"
        return SetTooLarge(
            f"The set has {actual}; at most {self.bytes:,} are taken here (setting {self.setting}). Send "
            "fewer images: a few hundred are plenty to learn from, and a batch can be sent as several."
        )


class BodyLimit:
    """ASGI middleware that raises `ContentTooLarge` inside the app as soon as a body is known to exceed the limit.

    A declared Content-Length is judged before the first byte is asked for, so a client that sent
    `Expect: 100-continue` never uploads; a chunked body is counted as it arrives. Starlette's own limiter answers in
    plain text, past the exception handlers, which is why it is not used.
    """

    def __init__(self, app: ASGIApp, max_upload_bytes: Callable[[], int], max_set_bytes: int) -> None:
        """A training set or a batch may have `max_set_bytes`, other bodies what `max_upload_bytes()` says just then."""
        self.app = app
        self.upload_bytes = max_upload_bytes
        self.set = Bound(max_set_bytes, "B2S_MAX_SET_BYTES")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        upload = Bound(self.upload_bytes(), "B2S_MAX_UPLOAD_BYTES")
        headers = Headers(scope=scope)
        bound = self.set if scope["method"] == "POST" and may_be_set(scope["path"], headers) else upload
        body = _LimitedBody(bound, headers, receive)
        await self.app(scope, body.receive, _closing_send(send, body))


def may_be_set(path: str, headers: Headers) -> bool:
    """Whether a body may hold many images; of a form for `/denoise` its first file tells, which has a bound itself."""
    kind = headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
    batch = kind == "multipart/form-data" or kind in ARCHIVE_TYPES
    return path.endswith("/finetune") or (path.endswith("/denoise") and batch)


class _LimitedBody:
    """The receiving side of one request, counted."""

    def __init__(self, bound: Bound, headers: Headers, receive: Receive) -> None:
        declared = headers.get("content-length", "")
        self._declared = int(declared) if declared.isdecimal() else None
        self._coding = headers.get("content-encoding", "").strip() or "identity"
        self._bound = bound
        self._limit = bound.bytes + FORM_OVERHEAD_BYTES
        self._receive = receive
        self._received = 0
        self._waited = 0.0
        self.ended = False

    async def receive(self) -> Message:
        if self._coding.lower() != "identity":
            raise UnsupportedMediaType(
                f"The Content-Encoding is {self._coding[:40]}; bodies are taken as they are. Send the file itself, "
                "without that header.",
                headers={"Accept-Encoding": "identity"},  # RFC 9110, section 12.5.3
            )
        if self._declared is not None and self._declared > self._limit:
            raise self._bound.broken(self._declared)
        message = await self._next_in_time()
        if self._received > self._limit:
            raise self._bound.broken()
        return message

    async def _next_in_time(self) -> Message:
        if self.ended:  # what comes next is a disconnect, whenever that may be
            return await self._next()
        begin = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS + self._received / SLOWEST_BYTES_A_SECOND - self._waited):
                return await self._next()
        except TimeoutError:
            raise BodyStalled(
                f"The body stopped after {self._received:,} bytes. Send it without long pauses; with the same "
                "Idempotency-Key it is safe to send it again."
            ) from None
        finally:
            self._waited += time.monotonic() - begin

    async def discard(self) -> None:
        """Throw away what still comes, within bounds."""
        bound = self._received + LINGER_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self.ended and self._received < bound:
                    await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)
        return message


def _closing_send(send: Send, body: _LimitedBody) -> Send:
    """`send`, but where a body is refused before its end, the connection is closed after the answer and a linger."""
    closing = False

    async def closing_send(message: Message) -> None:
        nonlocal closing
        if message["type"] == "http.response.start":
            closing = message["status"] in (408, 413, 415) and not body.ended
            if closing:
                MutableHeaders(raw=message["headers"])["Connection"] = "close"
        if closing and message["type"] == "http.response.body" and not message.get("more_body", False):
            await send({**message, "more_body": True})
            await body.discard()
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return closing_send


def too_large(max_upload_bytes: int, size: int | None = None) -> ContentTooLarge:
    """The refusal of a body or file of `size` bytes (None: unknown, it was cut off while streaming)."""
    actual = f"{size:,} bytes" if size is not None else f"more than {max_upload_bytes:,} bytes"
    return ContentTooLarge(
        f"The upload has {actual}; at most {max_upload_bytes:,} bytes are taken here (setting "
        "B2S_MAX_UPLOAD_BYTES). Send a smaller or losslessly compressed file, or ask the operator to raise it. "
        "The size of the decoded image is limited separately by B2S_MAX_PIXELS."
    )
