"""Take the images of a fine-tune off the wire, file by file into the blob store. No pixel is decoded here.

Whether a file is any good the worker finds out: one bad file is reported, not fatal. An archive is stored as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qsl

from anyio import to_thread
from fastapi import Request

from service.http import problems
from service.intake.body_limit import ARCHIVE_TYPES
from service.intake.fields import Given
from service.intake.parts import Expected, Part, media_type, read_files
from service.intake.small_bodies import require_shallow, small_body
from service.intake.submission import Submission
from service.intake.uploads import looked_at
from service.services import Services
from store.blobs import file_key
from store.stored import Room
from store.training_file import TrainingFile

NO_FILES = "It is not said to hold files: send images as multipart/form-data, or a zip or tar with its Content-Type."
SET = Expected(
    files="images",
    raw_types=ARCHIVE_TYPES,
    remedy=(
        "Send multipart/form-data with file fields `images` (curl -F images=@a.tif -F images=@b.tif), the bytes of a "
        "zip or tar, or JSON with a `dataset_id`."
    ),
    at_once=True,  # a body of many gigabytes can bring any number of fields
)


async def receive_training_files(
    request: Request, services: Services, submission: Submission, given: Given, room: Room
) -> list[TrainingFile]:
    """Store the files of a request under the job to be made, and collect its fields in `given`.

    Raises:
        StorageFull: there are more.
        InvalidRequest, SetTooLarge, UnsupportedMediaType, ContentTooLarge: with the remedy.
    """
    sent = media_type(request)
    if sent in ("application/json", "application/x-www-form-urlencoded", ""):
        for name, value in _fields(sent, await small_body(request, NO_FILES)):
            given.add(name, value)
        return []
    files: list[TrainingFile] = []
    bound = services.settings.max_set_images
    async with aclosing(read_files(request, SET, given)) as parts:
        async for part in parts:
            with part:
                if not part.size and not part.filename:
                    continue  # what a browser sends for an empty file input
                if len(files) >= bound:
                    raise problems.SetTooLarge(
                        f"The request has more than {bound:,} files, as many as B2S_MAX_SET_IMAGES allows. Send fewer, "
                        "or ask the operator to raise it."
                    )
                archive, pixels = await services.probes.run(looked_at, part)
                room.require(part.size + sum(file.bytes for file in files))
                files.append(await to_thread.run_sync(_store, submission, len(files), part, archive, pixels))
    return files


def manifest(files: Sequence[TrainingFile]) -> bytes:
    """The list of files that the worker reads, as JSON."""
    return json.dumps({"files": [asdict(file) for file in files]}).encode()


def _store(submission: Submission, number: int, part: Part, archive: bool, pixels: int) -> TrainingFile:
    name = name_of(part, number)
    key = file_key(submission.job_id, number)
    submission.put(key, part.content())
    return TrainingFile(name, key, part.size, pixels, part.sha256(), archive)


def name_of(part: Part, number: int) -> str:
    """What a file is called: as its sender does, for reading, never for a path."""
    return "".join(c if c.isprintable() else "?" for c in part.filename or "")[-200:] or f"image {number + 1}"


def _fields(sent: str, body: bytes) -> list[tuple[str, Any]]:
    """Names and values of a body of options, repeated ones included."""
    if not body:
        return []
    if sent != "application/json":
        return list(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    require_shallow(body)
    try:
        found = json.loads(body, object_pairs_hook=_Pairs)
    except ValueError:
        found = None
    if not isinstance(found, _Pairs):
        raise problems.InvalidRequest('The JSON body has to be an object, as in {"dataset_id": "set_…"}.')
    return found


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its repeated names, which a dict would swallow."""
