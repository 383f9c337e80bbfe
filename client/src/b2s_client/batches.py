"""Batches: many images sent as one job, and what became of each of them, as flows that do no I/O themselves."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import flows
from .calls import Body, Call, Flow, read
from .errors import TimedOut, checked, wrong_address
from .types import Denoised, Job, JobError, Options

BatchImage = str | Path | tuple[str, bytes]
"""An image of a batch: the path of a file, or a name and the bytes of a file."""

TAR = "application/x-tar"
HELD_SECONDS = 20.0
"""How long one request for results is held. It is answered as soon as there is one."""

IN_MEMORY_BYTES = 16 * 2**20
"""A body up to this many bytes is made in memory, a larger one in a temporary file."""

FILES = 500
BYTES = 256 * 2**20
"""What one job of `denoise_batch` holds at most, unless the service takes less."""


@dataclass(frozen=True)
class Limits:
    """The most files and bytes of one batch, as the service says."""

    files: int
    bytes: int

    @classmethod
    def from_json(cls, usage: dict[str, Any]) -> Limits:
        limits = usage["limits"]
        return cls(limits["set_images"], limits["set_bytes"])


@dataclass(frozen=True)
class BatchResult:
    """What became of one file of a batch: `image`, or the `error` that kept it from being made.

    `index` is its place in the job (of an archive's files, once that is unpacked), `name` what it was sent as.
    `facts` are the service's about the result: `media_type`, `bytes`, `sha256`, `noise_std_in`, `noise_std_out`, …
    `Client.report(job_id, index)` has all numbers.
    """

    index: int
    name: str
    job_id: str
    image: Denoised | None
    error: JobError | None
    facts: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Sent:
    """A file as it is sent: `body` is its bytes or where they are."""

    name: str
    body: Body = field(repr=False)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.body.stat().st_size if isinstance(self.body, Path) else len(self.body)

    def chunks(self) -> Iterator[bytes]:
        if not isinstance(self.body, Path):
            yield self.body
            return
        with self.body.open("rb") as file:
            while chunk := file.read(1 << 20):
                yield chunk


def listed(images: Iterable[BatchImage]) -> list[Sent]:
    """The images as they are sent. Raises ValueError if there are none, FileNotFoundError for one that is not there."""
    found = [Sent(*one) if isinstance(one, tuple) else Sent(str(one), Path(one)) for one in images]
    if not found:
        raise ValueError("There is no image in what was named.")
    for one in found:
        if isinstance(one.body, Path) and not one.body.is_file():
            raise FileNotFoundError(f"There is no file {one.body}.")
    return found


def grouped(files: Sequence[Sent], limits: Limits) -> Iterator[list[Sent]]:
    """The files in order, as many a batch as one may hold; one that alone is too large is for the service to refuse."""
    most_files, most_bytes = min(limits.files, FILES), min(limits.bytes, BYTES)
    group: list[Sent] = []
    size = 0
    for file in files:
        if group and (len(group) >= most_files or size + file.size > most_bytes):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


def limits() -> Flow[Limits]:
    """What the service takes as one batch."""
    return read((yield Call("GET", "/usage")), Limits.from_json)


@contextmanager
def form(files: Sequence[Sent]) -> Iterator[tuple[str, Body]]:
    """The files as multipart/form-data (RFC 7578): its media type, and the body, on disk if it is large."""
    boundary = uuid.uuid4().hex
    kind = f"multipart/form-data; boundary={boundary}"
    if sum(file.size for file in files) <= IN_MEMORY_BYTES:
        yield kind, b"".join(_form(files, boundary))
        return
    with tempfile.NamedTemporaryFile(prefix="b2s-") as body:
        for piece in _form(files, boundary):
            body.write(piece)
        body.flush()
        yield kind, Path(body.name)


def batch_key(files: Sequence[Sent], options: Options) -> str:
    """The same files with the same options have the same key: who asks again finds the job of before."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for file in files:
        digest.update(f"\n{file.size} {file.name}\n".encode(errors="surrogateescape"))
        for chunk in file.chunks():
            digest.update(chunk)
    return f"b2s-{digest.hexdigest()}"


def submit(kind: str, body: Body, options: Options, key: str) -> Flow[Job]:
    """Post a batch and return its job; a key that once led to nothing is replaced by a fresh one."""
    response = yield flows.post(body, options, key, media_type=kind)
    if response.headers.get("idempotency-replayed") == "true" and flows.led_to_nothing(response):
        response = yield flows.post(body, options, uuid.uuid4().hex, media_type=kind)
    return read(response, Job.from_json)


class Following:
    """How far the results of a batch were read. Each request says where it goes on, so a lost one is asked again."""

    def __init__(self, job_id: str, seconds: float, first: int = 0) -> None:
        """`seconds`: the longest time without a result; `first`: the index to begin at."""
        self.goes_on = True
        self._job_id = job_id
        self._seconds = seconds
        self._next = first
        self._deadline = time.monotonic() + seconds

    def more(self) -> Flow[list[BatchResult]]:
        """The results behind those that were read, held until there are some; none of them once the job has no more.

        Raises:
            TimedOut: none has come for too long.
        """
        left = max(self._deadline - time.monotonic(), 0.0)
        held = min(left, HELD_SECONDS)
        query = {"cursor": self._next, "wait": round(held, 1)}
        path, accept = f"/jobs/{self._job_id}/results", {"Accept": TAR}
        response = checked((yield Call("GET", path, query, accept, held_seconds=held)))
        if response.headers.get("content-type") != TAR:
            raise wrong_address(response)
        about, found = unpacked(response.content)
        self.goes_on = about["next_cursor"] is not None
        self._next = int(about["next_cursor"] or 0)
        if found:
            self._deadline = time.monotonic() + self._seconds
        elif self.goes_on and left == 0.0:
            raise TimedOut((yield from flows.get_job(self._job_id)))
        return found


def unpacked(page: bytes) -> tuple[dict[str, Any], list[BatchResult]]:
    """What a page of results says of the job, and the results of it."""
    with tarfile.open(fileobj=io.BytesIO(page), mode="r:") as tar:
        members = {member.name: _bytes(tar, member) for member in tar}
    about: dict[str, Any] = json.loads(members["results.json"])
    return about, [_result(about, file, members.get(file["file"] or "")) for file in about["files"]]


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member)
    return b"" if content is None else content.read()


def _result(about: dict[str, Any], file: dict[str, Any], data: bytes | None) -> BatchResult:
    facts, error, job_id = file["result"] or {}, file["error"], about["job"]
    if data is None or not facts:
        error = error or about["error"] or {"code": "canceled", "detail": "The job was canceled before its turn."}
        return BatchResult(file["index"], file["name"], job_id, None, JobError(error["code"], error["detail"]))
    image = Denoised(
        data=data,
        media_type=facts["media_type"],
        job_id=job_id,
        model=facts.get("model"),
        alpha=facts.get("alpha"),
        sigma=facts.get("sigma"),
        warnings=list(facts.get("warnings", [])),
    )
    return BatchResult(file["index"], file["name"], job_id, image, None, facts)


def _form(files: Sequence[Sent], boundary: str) -> Iterator[bytes]:
    for file in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{_quoted(file.name)}"\r\n\r\n'
        yield head.encode(errors="replace")
        yield from file.chunks()
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _quoted(name: str) -> str:
    """A file name between quotes, as browsers write it (WHATWG HTML, multipart/form-data encoding)."""
    plain = "".join(f"%{ord(letter):02X}" if ord(letter) < 32 else letter for letter in name)
    return plain.replace("\\", "\\\\").replace('"', "%22")
