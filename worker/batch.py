"""The work of a batch: its archives unpacked, then file after file denoised, each committed as soon as it is done.

What a file cannot be is a verdict on that file; the batch succeeds when at least one of them has a result. Another
attempt goes on behind the last file that was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from images.archive import ArchiveLimits
from images.errors import ImageError
from images.limits import Limits
from images.probe import probe
from images.unpack import unpack
from images.words import plain
from store import faults
from store.blobs import Blobs, done_key, file_key
from store.errors import BlobMissing, QuotaExceeded, StorageFull
from store.job import JobError, JobFile, JobState, Outcome, Progress
from store.job_files import JobFiles, numbered
from worker.attempt import Attempt
from worker.errors import GivesWay, Refused
from worker.explain import explain
from worker.scratch import scratch_folder
from worker.stages import Stages

MEDIA_TYPE = "application/zip"
_LONGEST_NAME = 200
_REASONS = 3

Work = Callable[[Attempt, Stages], Outcome]


@dataclass
class _Tally:
    """What the files of a batch came to so far."""

    total: int
    succeeded: int = 0
    failed: int = 0
    bytes: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, file: JobFile) -> None:
        if file.state is JobState.SUCCEEDED:
            self.succeeded += 1
            self.bytes += int((file.result or {}).get("bytes", 0))
        elif file.state is JobState.FAILED:
            self.failed += 1
            if file.error is not None and len(self.reasons) < _REASONS:
                self.reasons.append(f"{file.name}: {file.error.detail}")

    @property
    def progress(self) -> Progress:
        return Progress(self.succeeded + self.failed, self.total, "image")

    def result(self) -> dict[str, Any]:
        counts = {"files": self.total, "succeeded": self.succeeded, "failed": self.failed, "bytes": self.bytes}
        return counts | {"media_type": MEDIA_TYPE, "extension": ".zip"}


class FileAttempt(Attempt):
    """The attempt at a batch as the work of one file sees it: a job of one image, whose tiles are nobody's progress."""

    def __init__(self, batch: Attempt, file: JobFile) -> None:
        # Not that of Attempt: the thread that keeps the lease is the batch's.
        self.job = replace(batch.job, input_key=file.key, input={"bytes": file.bytes}, files=None)
        self.progress = batch.progress
        self._batch = batch
        self._number = file.number

    def key(self, name: str) -> str:
        return done_key(self.job.id, self._number, self.job.attempt, name)

    def check(self) -> None:
        self._batch.check()

    def on_tile(self, done: int, total: int) -> None:
        self.on_tile_of_page(done, total)

    def on_page(self, done: int, total: int) -> None:
        self.check()


class BatchWork:
    """Runs denoise jobs: one image by `one`, the files of a batch by it one after the other."""

    def __init__(
        self, one: Work, files: JobFiles, blobs: Blobs, limits: Limits, archives: ArchiveLimits, scratch_dir: str = ""
    ) -> None:
        """`limits` bound one image, `archives` what the archives of a batch unpack to, below `scratch_dir`."""
        self._one = one
        self._files = files
        self._blobs = blobs
        self._limits = limits
        self._archives = archives
        self._scratch_dir = scratch_dir

    def __call__(self, attempt: Attempt, stages: Stages) -> Outcome:
        """The job's outcome. Raises as `one` for a job of one image.

        Raises:
            Refused: no file of the batch has a result, or its archives do not fit into what its tenant may use.
            GivesWay: others wait, and something was done.
            Stopped, BlobStoreError: the attempt should not or could not go on.
        """
        if attempt.job.files is None:
            return self._one(attempt, stages)
        stages.seconds |= attempt.job.timings  # of the attempts before, with how long the first one waited
        files = self._files.page(attempt.job.id)
        if any(file.archive and file.state is JobState.QUEUED for file in files):
            with stages("unpack"):
                files = self._unpack(attempt, files)
        tally = _Tally(len(files))
        for file in files:
            tally.add(file)
        attempt.told(tally.progress)
        for file in files:
            if file.state is JobState.QUEUED:
                self._do(attempt, file, tally, stages)
                if tally.progress.done < tally.total:
                    self._let_others(attempt)
        if not tally.succeeded:
            raise Refused("no_image_denoised", f"None of the {len(files)} files could be denoised. {_told(tally)}")
        return Outcome(None, tally.result(), stages.seconds, tally.progress)

    def _do(self, attempt: Attempt, file: JobFile, tally: _Tally, stages: Stages) -> None:
        """Denoise one file and commit it, or what is wrong with it. Raises what another attempt may survive."""
        own = Stages()
        try:
            made = self._one(FileAttempt(attempt, file), own)
            done = replace(
                file,
                state=JobState.SUCCEEDED,
                result_key=made.result_key,
                report_key=made.report_key,
                result=made.result,
            )
        except Exception as error:
            reason = explain(error)
            if not isinstance(reason, Refused):
                raise
            done = replace(file, state=JobState.FAILED, error=reason.error)
        for stage, seconds in own.seconds.items():
            stages.add(stage, seconds)
        tally.add(done)
        signal = self._files.end(attempt.job, done, tally.progress, tally.result(), stages.seconds)
        attempt.told(tally.progress, signal)
        faults.point("filed")
        attempt.check()

    def _let_others(self, attempt: Attempt) -> None:
        if attempt.stopping:
            attempt.stop()
        if self._files.others_wait(attempt.job):
            raise GivesWay

    # ---- archives -------------------------------------------------------------------------------------------------

    def _unpack(self, attempt: Attempt, files: list[JobFile]) -> list[JobFile]:
        """The files of a batch with those of its archives in their place, stored and written down."""
        found: list[JobFile] = []
        with scratch_folder(self._scratch_dir) as folder:
            for file in files:
                if not (file.archive and file.state is JobState.QUEUED):
                    found.append(file)
                    continue
                found += self._members(attempt, file, folder, found, alone=len(files) == 1)
        all_of_them = numbered(found)
        try:
            attempt.settle_pixels(sum(file.pixels for file in all_of_them))
            signal = self._files.unpack(attempt.job, all_of_them, sum(file.bytes for file in all_of_them))
        except QuotaExceeded as error:
            raise Refused("quota_exceeded", f"{error} The archive holds more images than are left of today.") from error
        except StorageFull as error:
            raise Refused("storage_full", f"{error} The archive unpacks to more than there is room for.") from error
        attempt.told(attempt.progress, signal)
        attempt.check()
        self._blobs.delete([file.key for file in files if file.archive])
        return all_of_them

    def _members(
        self, attempt: Attempt, archive: JobFile, folder: Path, before: list[JobFile], alone: bool
    ) -> Iterator[JobFile]:
        fetched, member_path = folder / "archive", folder / "member"
        try:
            with fetched.open("wb") as out:
                for chunk in self._blobs.stream(archive.key):
                    out.write(chunk)
            for count, member in enumerate(unpack(fetched, member_path, self._left(before), attempt.check)):
                name = member.name if alone else f"{archive.name}/{member.name}"
                key = f"{file_key(attempt.job.id, archive.number)}-{count:06d}"
                file = JobFile(count, plain(name, _LONGEST_NAME), key, member.size, 0)
                if member.refused is not None:
                    yield _failed(file, JobError("archive_member_refused", f"{member.refused}."))
                else:
                    yield self._kept(file, member_path)
                attempt.check()
        except (ImageError, BlobMissing) as error:
            reason = explain(error)
            assert isinstance(reason, Refused)
            yield replace(_failed(archive, reason.error), archive=False, bytes=0)

    def _kept(self, file: JobFile, path: Path) -> JobFile:
        """A member's bytes stored; or what its header says that is wrong with it."""
        with path.open("rb") as content:
            try:
                info = probe(path, self._limits)
            except ImageError as error:
                return _failed(file, JobError(error.code, str(error)))
            self._blobs.put(file.key, content)
        return replace(file, pixels=info.pixels)

    def _left(self, before: list[JobFile]) -> ArchiveLimits:
        """The bounds hold for all archives of a batch together."""
        bounds = self._archives
        files, size = bounds.max_files - len(before), bounds.max_bytes - sum(file.bytes for file in before)
        return ArchiveLimits(max(files, 0), max(size, 0), bounds.max_file_bytes)


def _failed(file: JobFile, error: JobError) -> JobFile:
    return replace(file, state=JobState.FAILED, error=error, bytes=0)


def _told(tally: _Tally) -> str:
    """The first few reasons, for the error of a batch of which nothing came."""
    more = tally.failed - len(tally.reasons)
    return " ".join(tally.reasons) + (f" And {more} more." if more else "")
