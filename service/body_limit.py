"""Limit the bytes of a request body while it streams in, before any parser or spool sees more than the limit."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import ContentTooLarge

FORM_OVERHEAD_BYTES = 64 * 1024
"""Room for multipart boundaries, part headers and option fields around the file, so that the limit is the file's."""


class BodyLimit:
    """ASGI middleware that raises `ContentTooLarge` inside the app as soon as a body is known to exceed the limit.

    A declared Content-Length is judged before the first byte is asked for, so a client that sent
    `Expect: 100-continue` never uploads; a chunked body is counted as it arrives. Starlette's own limiter answers in
    plain text, past the exception handlers, which is why it is not used.
    """

    def __init__(self, app: ASGIApp, max_upload_bytes: int) -> None:
        self.app = app
        self.max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.max_upload_bytes + FORM_OVERHEAD_BYTES
        declared = Headers(scope=scope).get("content-length", "")
        declared_bytes = int(declared) if declared.isdecimal() else 0
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            if declared_bytes > limit:
                raise too_large(self.max_upload_bytes, declared_bytes)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise too_large(self.max_upload_bytes)
            return message

        await self.app(scope, limited_receive, send)


def too_large(max_upload_bytes: int, actual: int | None = None) -> ContentTooLarge:
    """The refusal of a body or file of `actual` bytes (None: unknown, it was cut off while streaming)."""
    size = f"{actual:,} bytes" if actual is not None else f"more than {max_upload_bytes:,} bytes"
    return ContentTooLarge(
        f"The upload has {size}; this server takes at most {max_upload_bytes:,} bytes (setting B2S_MAX_UPLOAD_BYTES). "
        "Send a smaller or losslessly compressed file, or ask the operator to raise the setting. "
        "The size of the decoded image is limited separately by B2S_MAX_PIXELS."
    )
