"""Stream bytes from the blob store as HTTP wants them: entity tag, conditional and range requests."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from anyio import to_thread
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from service.http import problems
from service.http.preferences import weight_of
from store.blobs import Blobs
from store.errors import BlobMissing

ANY_BYTES = "application/octet-stream"
CHUNK_BYTES = 1 << 20
SINGLE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)
"""18 digits are more than any file has bytes; Python refuses to make a number of thousands."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Bytes to serve. `sha256` is their strong entity tag; `name` is what a browser saves them as."""

    key: str
    size: int
    sha256: str
    media_type: str
    name: str


async def serve(request: Request, blobs: Blobs, file: StoredFile, headers: Mapping[str, str] | None = None) -> Response:
    """Answer `file`: 200 whole, 206 a range, or 304 if the client has it.

    Raises:
        RangeNotSatisfiable: the range lies outside the file.
        ResultGone: the bytes were removed since the job was read.
    """
    media_type = _media_type(request, file)
    common = {
        **(headers or {}),
        "Vary": "Accept",
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",  # keep it, but ask each time: a deleted result must not be served on
        "Content-Disposition": f'inline; filename="{file.name}"',
    }
    if client_has(request, file.sha256):
        return Response(status_code=304, headers=common)
    wanted = _range(request, file)
    start, end = wanted or (0, file.size)
    common["Content-Length"] = str(end - start)
    if wanted:
        common["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    status = 206 if wanted else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=common, media_type=media_type)
    # The first chunk is read before the status goes out, so that missing bytes are a 410 and not a broken transfer.
    first = await _chunk(blobs, file.key, start, end)
    if len(first) == end - start:
        return Response(first, status_code=status, headers=common, media_type=media_type)
    body = _chunks(blobs, file.key, first, start, end)
    return StreamingResponse(body, status_code=status, headers=common, media_type=media_type)


def gone() -> problems.ResultGone:
    """The answer where bytes were, on request or by age, removed."""
    return problems.ResultGone(
        "The bytes of this job were deleted or have expired (setting B2S_RESULT_HOURS). Post the image again."
    )


def _media_type(request: Request, file: StoredFile) -> str:
    """The file's own, or that of any bytes for who asks for these by name (RFC 9110, section 12.5.1)."""
    accept = request.headers.get("accept")
    return ANY_BYTES if weight_of(accept, ANY_BYTES) > weight_of(accept, file.media_type) else file.media_type


def client_has(request: Request, sha256: str) -> bool:
    """Whether `If-None-Match` names these bytes."""
    tags = request.headers.get("if-none-match", "")
    return tags.strip() == "*" or sha256 in re.findall(r'"([^"]*)"', tags)


def _range(request: Request, file: StoredFile) -> tuple[int, int] | None:
    """Start and end (exclusive) asked for; None: the whole. What cannot be parsed is ignored, as RFC 9110 allows."""
    found = SINGLE_RANGE.fullmatch(request.headers.get("range", "").strip())
    if found is None or found.groups() == ("", ""):
        return None
    if request.headers.get("if-range", f'"{file.sha256}"') != f'"{file.sha256}"':
        return None
    if found[1] == "":
        start, end = max(file.size - int(found[2]), 0), file.size
    else:
        start = int(found[1])
        end = min(int(found[2]) + 1, file.size) if found[2] else file.size
        if found[2] and int(found[2]) < start:
            return None
    if start >= file.size:
        raise problems.RangeNotSatisfiable(
            f"The result has {file.size} bytes; ask for a range within them.",
            headers={"Content-Range": f"bytes */{file.size}"},
        )
    return start, end


async def _chunk(blobs: Blobs, key: str, start: int, end: int) -> bytes:
    if start >= end:
        return b""
    try:
        return await to_thread.run_sync(blobs.range, key, start, min(start + CHUNK_BYTES, end))
    except BlobMissing:
        raise gone() from None


async def _chunks(blobs: Blobs, key: str, first: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    yield first
    for position in range(start + len(first), end, CHUNK_BYTES):
        yield await _chunk(blobs, key, position, end)
