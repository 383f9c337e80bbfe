"""Read one uploaded image off the wire into a spooled file, and look at its header. No pixel is decoded here."""

import hashlib
import mmap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

from anyio import to_thread
from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from images.probe import READ_FORMATS, ImageError, ImageInfo, Limits, probe
from service import problems
from service.body_limit import too_large
from service.options import OPTION_NAMES
from service.problems import FieldError

SPOOL_BYTES = 1024 * 1024
"""Uploads up to this size stay in memory; larger ones go to a temporary file (in TMPDIR), so memory stays flat."""

MAX_FIELD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it was sent: its bytes in `file` (at position 0), and the option fields that came along."""

    file: IO[bytes]
    size: int
    fields: dict[str, str]

    def sha256(self) -> str:
        """Hex digest of the image bytes, read in pieces. Blocking; leaves the file at position 0."""
        digest = hashlib.file_digest(self.file, "sha256")  # type: ignore[arg-type]  # any binary file will do
        self.file.seek(0)
        return digest.hexdigest()

    def view(self) -> memoryview:
        """The bytes without reading a large file into memory. Blocking; leaves the file at position 0."""
        if self.size <= SPOOL_BYTES:
            data = self.file.read()
            self.file.seek(0)
            return memoryview(data)
        return memoryview(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ))

    def probe(self, limits: Limits) -> ImageInfo:
        """What the header says, sniffed from the bytes; file name and declared type are never asked. Blocking.

        Raises:
            UnsupportedMediaType, BrokenImage, ImageTooLarge: with the remedy in the text.
        """
        try:
            info = probe(self.view(), limits)
        except ImageError as error:
            raise _refusal(error.code, str(error), limits) from error
        if info.pixels > limits.max_pixels:
            raise _refusal(
                "image_too_large", f"The image has {info.pixels:,} pixels in {info.frames:,} frames.", limits
            )
        return info


@asynccontextmanager
async def receive_upload(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """The uploaded image of a request, from a multipart field `image` or the raw body; closed on exit.

    Raises:
        ContentTooLarge: more bytes than `max_bytes`.
        InvalidRequest: no image, several images, or a field that is not an option.
        UnsupportedMediaType: neither multipart nor an image media type.
    """
    media_type, _ = parse_options_header(request.headers.get("content-type", ""))
    if media_type == b"multipart/form-data":
        async with _multipart(request, max_bytes) as upload:
            yield upload
    elif media_type.startswith(b"image/") or media_type == b"application/octet-stream":
        async with _raw(request, max_bytes) as upload:
            yield upload
    else:
        sent = media_type.decode("latin-1") or "none"
        raise problems.UnsupportedMediaType(
            f"The Content-Type is {sent}. Send multipart/form-data with a file field `image` "
            f"(curl -F image=@photo.png), or the bytes of a {READ_FORMATS} file with its image/… type."
        )


@asynccontextmanager
async def _multipart(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    try:
        form = await request.form(max_files=1, max_fields=len(OPTION_NAMES) * 2, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise problems.InvalidRequest(
            f"The multipart form cannot be read: {error.detail.rstrip('.')}. Send one file field `image` and each "
            f"option as a text field of at most {MAX_FIELD_BYTES} bytes."
        ) from error
    try:
        yield _from_form(form, max_bytes)
    finally:
        await form.close()


def _from_form(form: FormData, max_bytes: int) -> Upload:
    images = [value for name, value in form.multi_items() if name == "image"]
    if len(images) != 1 or not isinstance(images[0], UploadFile):
        raise _refused_field("image", "exactly one file is needed here, as in curl -F image=@photo.png")
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if name == "image":
            continue
        if not isinstance(value, str):
            raise _refused_field(name, "only `image` may be a file")
        if name in fields:
            raise _refused_field(name, "given more than once")
        fields[name] = value
    size = images[0].size or 0
    if size > max_bytes:
        raise too_large(max_bytes, size)
    if size == 0:
        raise _refused_field("image", "the file is empty")
    return Upload(images[0].file, size, fields)


@asynccontextmanager
async def _raw(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    size = 0
    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise too_large(max_bytes)
            if size <= SPOOL_BYTES:
                file.write(chunk)  # memory only: not worth a thread
            else:
                await to_thread.run_sync(file.write, chunk)
        if size == 0:
            raise _refused_field(
                "body", "the body is empty; send the bytes of an image, as in curl --data-binary @photo.png"
            )
        file.seek(0)
        yield Upload(file, size, {})


def _refused_field(name: str, message: str) -> problems.InvalidRequest:
    return problems.InvalidRequest(f"{name}: {message}.", errors=[FieldError(field=name, message=message)])


def _refusal(code: str, message: str, limits: Limits) -> problems.Problem:
    """The problem for an `ImageError`, with the settings named that decide."""
    if code == "image_too_large":
        return problems.ImageTooLarge(
            f"{message} Crop, bin or split the image, or ask the operator to raise the settings: images are "
            f"limited to B2S_MAX_PIXELS = {limits.max_pixels:,}, files to B2S_MAX_UPLOAD_BYTES = {limits.max_bytes:,}."
        )
    if code == "unsupported_format":
        return problems.UnsupportedMediaType(f"{message} What counts is the content, not the name or declared type.")
    return problems.BrokenImage(f"{message} Open the file in a viewer and save it again.")
