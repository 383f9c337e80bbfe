"""Whether the service takes an upload of this size, asked before it is sent."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from .calls import Body, Call, Flow, read
from .errors import B2SError, ImageRefused
from .types import Usage

WONDER_BYTES = 16 * 2**20
"""No service is expected to take less: bodies up to this are sent without a question."""

TOO_LARGE = "/problems/content-too-large"


def require_size(body: Body) -> Flow[None]:
    """Ask what the service takes before a large image is sent only to be refused.

    Raises:
        ImageRefused: it takes less; nothing was sent.
    """
    size = body.stat().st_size if isinstance(body, Path) else len(body)
    if size <= WONDER_BYTES:
        return
    response = yield Call("GET", "/usage")
    most = None
    with suppress(B2SError):  # the key may not read, or what answers is older: then the service refuses by itself
        most = read(response, Usage.from_json).upload_bytes
    if most is not None and size > most:
        raise ImageRefused(
            {
                "type": TOO_LARGE,
                "title": "Content too large",
                "status": 413,
                "detail": f"The image has {size:,} bytes as sent and the service takes {most:,} (its setting "
                "B2S_MAX_UPLOAD_BYTES). It was not sent. Crop or split it, save it compressed, or ask the operator for "
                "more.",
            }
        )
