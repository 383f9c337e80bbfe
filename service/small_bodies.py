"""Bodies that hold a few options and no file: read within a bound that is far below that of uploads."""

from fastapi import Request

from service import problems

MOST_BYTES = 64 * 1024


async def small_body(request: Request, remedy: str) -> bytes:
    """The whole body. Raises ContentTooLarge, with the remedy, as soon as there is too much of it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise problems.ContentTooLarge(f"The body has more than {MOST_BYTES:,} bytes. {remedy}")
    return bytes(body)
