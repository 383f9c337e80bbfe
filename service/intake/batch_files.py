"""Take the images of a batch off the wire, file by file into the blob store. No pixel is decoded here.

A file whose header is no good is a failed file of the batch; what else is wrong with one, the worker finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anyio import to_thread

from images.probe import ImageError, Limits, sniff_archive
from service.http import problems
from service.intake.fields import refused_field
from service.intake.parts import RAW_NAME, Part
from service.intake.submission import Submission, Submitter
from service.intake.training_files import name_of
from service.intake.uploads import HEAD_BYTES
from store.blobs import file_key
from store.job import JobError, JobFile, JobState
from store.stored import Room

TOO_LARGE = "image_too_large"


class BatchFiles:
    """The files of a batch as they come, each kept under the job to be made.

    Attributes:
        files: so far.
        sha256: of each file's bytes.
    """

    def __init__(self, submitter: Submitter, submission: Submission) -> None:
        self.files: list[JobFile] = []
        self.sha256: list[str] = []
        self._services = submitter.services
        self._caller = submitter.caller
        self._submission = submission
        self._room: Room | None = None

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def pixels(self) -> int:
        """Of those that are images, as their headers say."""
        return sum(file.pixels for file in self.files)

    async def keep(self, part: Part) -> None:
        """Store one file.

        Raises:
            SetTooLarge, StorageFull: it is one too many, or too large.
        """
        if not part.size and not part.filename:
            return  # what a browser sends for an empty file input
        settings = self._services.settings
        if len(self.files) >= settings.max_set_images:
            raise problems.SetTooLarge(
                f"The request has more than {settings.max_set_images:,} files, as many as B2S_MAX_SET_IMAGES allows. "
                "Send it as several batches, or ask the operator to raise it."
            )
        if self._room is None:
            bound = self._caller.allowance.stored_bytes
            self._room = await to_thread.run_sync(self._services.usage.room, self._caller.tenant, bound)
        self._room.require(self.bytes + part.size)
        file = await self._services.probes.run(self._seen, part)
        self.sha256.append(await to_thread.run_sync(self._store, file, part))
        self.files.append(file)

    def require_some(self) -> None:
        """Raise InvalidRequest if there is no file, or none of them is an image or archive."""
        if not self.files:
            raise refused_field("images", "there is no file, as in curl -F images=@a.png -F images=@b.png")
        if all(file.error for file in self.files):
            reasons = "; ".join(f"{file.name}: {file.error.detail}" for file in self.files[:3] if file.error)
            raise refused_field("images", f"none of the {len(self.files)} files can be denoised: {reasons.rstrip('.')}")

    def identity(self) -> list[Sequence[str]]:
        """What makes two batches the same, JSON-ready: names and bytes, in order."""
        return [(file.name, digest) for file, digest in zip(self.files, self.sha256, strict=True)]

    def _seen(self, part: Part, limits: Limits) -> JobFile:
        number = len(self.files)
        name = "archive" if part.filename == RAW_NAME else name_of(part, number)
        file = JobFile(number, name, file_key(self._submission.job_id, number), part.size, 0)
        if sniff_archive(part.head(HEAD_BYTES)) is not None:
            return replace(file, archive=True)
        most = self._services.upload_bytes
        if part.size > most:
            return _failed(file, TOO_LARGE, f"The file has {part.size:,} bytes; at most {most:,} are taken here.")
        try:
            return replace(file, pixels=part.probe(limits).pixels)
        except ImageError as error:
            return _failed(file, error.code, str(error))

    def _store(self, file: JobFile, part: Part) -> str:
        if file.error is None:
            self._submission.put(file.key, part.content())
        return part.sha256()


def _failed(file: JobFile, code: str, detail: str) -> JobFile:
    return replace(file, bytes=0, state=JobState.FAILED, error=JobError(code, detail))
