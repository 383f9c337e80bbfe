"""Draws pictures when they are rung for: a thread beside the jobs, so that no picture waits for a long job's end.

Which picture is drawn, the database decides, as with jobs. A worker that dies loses a picture that is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace

import structlog
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from images import scratch
from images.crop import crop
from images.decode import Decoded, decode
from images.limits import GIB, MIB, Limits
from images.mosaic_split import Mosaic
from store import faults
from store.blobs import Blobs, picture_key
from store.broker import Broker
from store.errors import StoreError
from store.job import Job, JobError
from store.jobs import Jobs
from store.options import DenoiseOptions
from store.pictures import Picture, Pictures
from store.preview import REPORT, Preview
from worker import picture as report_picture
from worker import preview as previews
from worker.cut import NAME as CUT
from worker.cut import Cut
from worker.errors import Refused
from worker.explain import explain

log = structlog.get_logger(__name__)

LISTENING_SECONDS = 1.0
"""How long the thread waits for a ring before it looks whether it is to end."""

AWAY_SECONDS = 1.0
"""How long it leaves a Redis or a database alone that does not answer."""

STOP_SECONDS = 10.0
IN_MEMORY = 64 * MIB
"""Files over this many bytes are decoded from disk."""

LARGEST_RESULT = 16 * GIB
"""What the service wrote itself may be larger than an upload, never without bound."""

RENEWALS = 3  # of a lease before it would be over
RELEASED = "released"
_CAMERA = ("dng", "raw")


class Drawing:
    """Draws one picture after the other, in a thread of its own once it is started."""

    def __init__(self, pictures: Pictures, jobs: Jobs, blobs: Blobs, broker: Broker, limits: Limits) -> None:
        self._pictures = pictures
        self._jobs = jobs
        self._blobs = blobs
        self._broker = broker
        self._limits = replace(limits, max_bytes=max(limits.max_bytes, LARGEST_RESULT))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="drawing", daemon=True)

    def start(self) -> None:
        """Begin to listen for rings."""
        self._thread.start()

    def stop(self) -> None:
        """Draw what is being drawn to its end, and no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def draw_next(self) -> bool:
        """Draw the picture that has waited for longest; False: there was none.

        Raises:
            SQLAlchemyError: the database does not answer. The picture is asked for again.
        """
        picture = self._pictures.claim()
        if picture is None:
            return False
        faults.point("drawing")
        begin = time.perf_counter()
        try:
            with self._lease(picture):
                data = self._drawn(picture)
            key = picture_key(picture.id, picture.attempt)
            self._blobs.put(key, data)
            faults.point("drawn")
            dropped = self._pictures.finish(picture, key, len(data), hashlib.sha256(data).hexdigest())
            self._sweep_up([key] if dropped is None else dropped)  # None: it is drawn already, or went with its job
            outcome = "drawn" if dropped is not None else "not_needed"
        except Exception as error:
            outcome = self._gave_up(picture, error)
        if outcome != RELEASED:
            self._broker.announce(picture.id)
        seconds = round(time.perf_counter() - begin, 4)
        log.info("picture_ended", picture_id=picture.id, job_id=picture.job_id, outcome=outcome, seconds=seconds)
        return True

    @contextmanager
    def _lease(self, picture: Picture) -> Iterator[None]:
        """Keep the claim for as long as it takes: the helper's own limits bound that."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(self._pictures.lease_seconds / RENEWALS):
                with suppress(SQLAlchemyError):  # it may be back before the lease is over
                    self._pictures.renew(picture)

        thread = threading.Thread(target=renew, name=f"lease-{picture.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _gave_up(self, picture: Picture, error: Exception) -> str:
        """Record why there is no picture: for good, or for this attempt."""
        reason = explain(error)
        if isinstance(reason, Refused):
            words = JobError(reason.error.code, reason.error.detail)
            self._sweep_up(self._pictures.refuse(picture, words) or [])
            return "refused"
        self._pictures.release(picture)  # whoever still waits rings again
        return RELEASED

    def _drawn(self, picture: Picture) -> bytes:
        job = self._jobs.get_many([picture.job_id]).get(picture.job_id)
        if job is None or job.purged or job.result_key is None:
            raise Refused("result_gone", "The bytes of this job were deleted.")
        return self._report(job) if picture.what == REPORT else self._preview(job, Preview.model_validate(picture.what))

    def _report(self, job: Job) -> bytes:
        if job.report_key is None:
            raise Refused("report_not_kept", "This job has no report.")
        numbers = json.loads(self._blobs.get(job.report_key))
        cut = Cut.from_bytes(self._blobs.get(f"{job.report_key.rpartition('/')[0]}/{CUT}"))
        return report_picture.draw(cut, numbers)

    def _preview(self, job: Job, preview: Preview) -> bytes:
        """The result is decoded for every side: it decides the window, and whether the image is a mosaic."""
        options = DenoiseOptions.read(job.options)
        assert job.result_key is not None
        raw = job.input.get("format") in _CAMERA
        own = (job.result or {}).get("extension") == ".dng"
        after = self._decoded(job.result_key, "bayer" if raw and not own else options.mosaic)
        before = None
        if preview.side != "after" or (raw and not own):
            if job.input_key is None:
                raise Refused("input_gone", "The upload of this job was deleted.")
            before = self._decoded(job.input_key, "bayer" if after.sites and not raw else "none")
            if options.roi is not None:
                before = crop(before, *astuple(options.roi))
        return previews.draw(preview, after, before, before if before is not None and raw else after)

    def _decoded(self, key: str, mosaic: Mosaic) -> Decoded:
        if self._blobs.head(key).size <= IN_MEMORY:
            return decode(self._blobs.get(key), self._limits, mosaic)
        with scratch.file() as file:
            for chunk in self._blobs.stream(key):
                file.write(chunk)
            file.flush()
            return decode(file.fileno(), self._limits, mosaic)

    def _sweep_up(self, keys: list[str]) -> None:
        """Delete blobs that no row names any more."""
        try:
            self._blobs.delete(keys)
        except StoreError as error:
            log.warning("picture_not_swept_up", reason=str(error))

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                if self._broker.await_picture(LISTENING_SECONDS):
                    self.draw_next()
            except (RedisError, OSError, SQLAlchemyError) as error:
                log.warning("pictures_not_heard_of", reason=str(error))
                self._stop.wait(AWAY_SECONDS)
            except Exception:  # the thread is there for as long as its process: the next picture is another one
                log.exception("picture_failed")
