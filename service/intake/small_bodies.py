"""Bodies that hold a few options and no file: read within bounds that are far below those of uploads."""

import json

from fastapi import Request

from service.http import problems

MOST_BYTES = 64 * 1024


async def small_body(request: Request, remedy: str) -> bytes:
    """The whole body. Raises ContentTooLarge, with the remedy, as soon as there is too much of it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise problems.ContentTooLarge(f"The body has more than {MOST_BYTES:,} bytes. {remedy}")
    return bytes(body)


def require_shallow(body: bytes) -> None:
    """Raise RequestRefused for JSON that is nested so deeply that no parser here takes it; else it may be anything."""
    try:
        json.loads(body)
    except RecursionError as error:
        raise problems.RequestRefused(
            "The JSON body is nested far deeper than any option is. Send a flat object, as the examples of /docs are."
        ) from error
    except ValueError:
        return
