"""Checkpoints of a fine-tune in the blob store: written by one attempt, taken up by any other."""

from __future__ import annotations

import hashlib
import re

import structlog

from store.blobs import Blobs, checkpoints_prefix
from store.errors import BlobStoreError

NAME = re.compile(r"(\d{6})-([0-9a-f]{64})\.ckpt")
KEEP = 2

log = structlog.get_logger(__name__)


class Checkpoints:
    """Checkpoints of one job. A name carries a running number and the SHA-256 of the bytes: a rotten one is told."""

    def __init__(self, blobs: Blobs, job_id: str) -> None:
        self._blobs = blobs
        self._prefix = checkpoints_prefix(job_id)

    def write(self, data: bytes) -> bool:
        """Store one, and drop all but the newest two. False: the store is away; training goes on, the next one may do.

        Two attempts that overlap may write the same number: both are points of the same run, so either will do.
        """
        digest = hashlib.sha256(data).hexdigest()
        try:
            known = self._newest_first()
            number = int(known[0][:6]) + 1 if known else 1
            self._blobs.put(f"{self._prefix}/{number:06d}-{digest}.ckpt", data)
            self._blobs.delete([f"{self._prefix}/{name}" for name in known[KEEP - 1 :]])
        except BlobStoreError as error:
            log.warning("checkpoint_not_stored", reason=str(error))
            return False
        return True

    def newest(self) -> bytes | None:
        """The newest whole one, or None. Raises BlobStoreError."""
        for name in self._newest_first():
            data = self._blobs.get(f"{self._prefix}/{name}")
            found = NAME.fullmatch(name)
            if found is not None and hashlib.sha256(data).hexdigest() == found[2]:
                return data
            log.warning("checkpoint_damaged", name=name)
        return None

    def delete(self) -> None:
        """Remove all. Raises BlobStoreError."""
        self._blobs.delete([blob.key for blob in self._blobs.below(self._prefix)])

    def _newest_first(self) -> list[str]:
        names = (blob.key.rpartition("/")[2] for blob in self._blobs.below(self._prefix))
        return sorted((name for name in names if NAME.fullmatch(name)), reverse=True)
