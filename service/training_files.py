"""Take the images of a fine-tune off the wire, file by file into the blob store. No pixel is decoded here.

Whether a file is any good the worker finds out: one bad file is reported, not fatal. An archive is stored as it is.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import parse_qsl

from anyio import to_thread
from fastapi import Request
from python_multipart.multipart import parse_options_header

from images.probe import ImageError, Limits, probe, sniff_archive
from service import problems
from service.finetune_options import OPTION_NAMES
from service.parts import SPOOL_BYTES, Part, read_parts
from service.problems import FieldError
from service.services import Services
from service.small_bodies import small_body
from store.blobs import file_key
from store.training_file import TrainingFile

NO_FILES = "It is not said to hold files: send images as multipart/form-data, or a zip or tar with its Content-Type."
RAW_TYPES = frozenset(
    {
        b"application/gzip",
        b"application/octet-stream",
        b"application/x-gzip",
        b"application/x-tar",
        b"application/x-zip-compressed",
        b"application/zip",
    }
)


@dataclass
class TrainingUpload:
    """What a request brought: files, already in the blob store under its job, and option fields.

    Attributes:
        stored: whether there may be blobs of it.
        used: whether its job was made, so that they have to stay.
    """

    job_id: str
    files: list[TrainingFile] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    stored: bool = False
    used: bool = False

    def manifest(self) -> bytes:
        """The list of files that the worker reads, as JSON."""
        return json.dumps({"files": [asdict(file) for file in self.files]}).encode()


async def receive_training_files(request: Request, services: Services, upload: TrainingUpload) -> None:
    """Store the files of a request and collect its fields in `upload`; what was stored stays, whatever happens.

    Raises:
        InvalidRequest, SetTooLarge, UnsupportedMediaType, ContentTooLarge: with the remedy.
    """
    media_type, _ = parse_options_header(request.headers.get("content-type", ""))
    if media_type == b"multipart/form-data":
        async with aclosing(read_parts(request)) as parts:
            async for part in parts:
                await _take(services, upload, part)
    elif media_type in RAW_TYPES or media_type.startswith(b"image/"):
        async with aclosing(_raw(request)) as parts:
            async for part in parts:
                await _take(services, upload, part)
    elif media_type in (b"application/json", b"application/x-www-form-urlencoded", b""):
        upload.fields = _parsed(media_type, await small_body(request, NO_FILES))
    else:
        raise problems.UnsupportedMediaType(
            f"The Content-Type is {media_type.decode('latin-1')}. Send multipart/form-data with file fields `images` "
            "(curl -F images=@a.tif -F images=@b.tif), the bytes of a zip or tar, or JSON with a `dataset_id`."
        )


async def _take(services: Services, upload: TrainingUpload, part: Part) -> None:
    if part.file is None:
        if part.name in upload.fields:
            raise _refused_field(part.name, "given more than once")
        if part.name == "images":
            raise _refused_field("images", "it has to be a file, as in curl -F images=@photo.tif")
        if part.name not in OPTION_NAMES:  # now, not at the end: a body of many gigabytes can bring any number of them
            raise _refused_field(part.name, "this field is not known here")
        upload.fields[part.name] = part.value.decode("utf-8", "replace")
        return
    if part.name != "images":
        raise _refused_field(part.name, "only `images` may be files")
    if part.size == 0 and not part.filename:
        return  # what a browser sends for an empty file input
    bound = services.settings.max_set_images
    if len(upload.files) >= bound:
        raise problems.SetTooLarge(
            f"The request has more than {bound:,} files, as many as B2S_MAX_SET_IMAGES allows. Send fewer, or ask the "
            "operator to raise it."
        )
    upload.files.append(await to_thread.run_sync(_store, services, upload, part, part.file))


def _store(services: Services, upload: TrainingUpload, part: Part, file: IO[bytes]) -> TrainingFile:
    number = len(upload.files)
    name = "".join(c if c.isprintable() else "?" for c in part.filename or "")[-200:] or f"image {number + 1}"
    archive, pixels = looked_at(file, part.size, services.limits)
    key = file_key(upload.job_id, number)
    upload.stored = True
    services.blobs.put(key, file.read() if part.size <= SPOOL_BYTES else file)
    return TrainingFile(name, key, part.size, pixels, part.digest.hexdigest(), archive)


def looked_at(file: IO[bytes], size: int, limits: Limits) -> tuple[bool, int]:
    """(is it an archive, pixels by its header). Blocking; leaves the file at position 0."""
    if size == 0:
        return False, 0
    head = file.read(512)
    file.seek(0)
    if sniff_archive(head) is not None:
        return True, 0
    try:
        if size <= SPOOL_BYTES:
            data = file.read()
            file.seek(0)
            return False, probe(data, limits).pixels
        return False, probe(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), limits).pixels
    except ImageError:
        return False, 0


async def _raw(request: Request) -> AsyncGenerator[Part, None]:
    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
        part = Part("images", "upload", file)
        async for chunk in request.stream():
            await part.take(chunk)
        file.seek(0)
        yield part


def _parsed(media_type: bytes, body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    if media_type != b"application/json":
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise problems.InvalidRequest('The JSON body has to be an object, as in {"dataset_id": "set_…"}.')
    return found


def _refused_field(name: str, message: str) -> problems.InvalidRequest:
    shown = name[:60]
    return problems.InvalidRequest(f"{shown}: {message}.", errors=[FieldError(field=shown, message=message)])
