"""The weights of a model as its row has them: bytes whose SHA-256 is another one are never computed with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import structlog

from store.blobs import Blobs
from store.errors import BlobMissing, BlobStoreError
from store.model import Model
from store.shipped import SHIPPED
from worker.errors import Refused, Retriable
from worker.metrics import WorkerMetrics

READS = 2
"""What was damaged on its way is whole when it is read again; what lies damaged in the store is not."""

CODE = "weights_damaged"

log = structlog.get_logger(__name__)


def stored_weights(blobs: Blobs, model: Model, metrics: WorkerMetrics | None = None, shipped: Path = SHIPPED) -> bytes:
    """The bytes of the model's weights, checked against its row.

    Where the store has lost or damaged them, and a file of the folder `shipped` has the row's SHA-256 (so it is no
    other version), they are put back from there.

    Raises:
        Refused: they are damaged, and nobody has them.
        Retriable: they are damaged, and only a worker of another version of the program has them.
        BlobStoreError: the store failed.
    """
    for _ in range(READS):
        found = _digest_and_bytes(blobs, model)
        if found is not None and found[0] == model.sha256:
            return found[1]
    whole = _shipped_bytes(model, shipped)
    log.error(
        "weights_damaged",
        model=model.id,
        key=model.weights_key,
        expected=model.sha256,
        found=found[0] if found else "nothing",
        put_back=whole is not None,
    )
    if metrics is not None:
        metrics.observe_damaged_weights(put_back=whole is not None)
    if whole is None:
        raise _error(model)
    try:
        blobs.put(model.weights_key, whole)
    except BlobStoreError as error:  # this job has what it needs; the next load tries again
        log.warning("weights_not_put_back", model=model.id, reason=str(error))
    return whole


def _digest_and_bytes(blobs: Blobs, model: Model) -> tuple[str, bytes] | None:
    try:
        data = blobs.get(model.weights_key)
    except BlobMissing:
        return None
    return hashlib.sha256(data).hexdigest(), data


def _shipped_bytes(model: Model, folder: Path) -> bytes | None:
    """The file that ships with this version of the program and has the row's SHA-256, whatever its name."""
    if model.tenant is not None:
        return None
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == model.sha256:
            return data
    return None


def _error(model: Model) -> Refused | Retriable:
    lost = f"The stored weights of {model.id} are damaged."
    if model.tenant is not None:
        return Refused(CODE, f"{lost} Choose another model, fine-tune again, or ask the operator for their backup.")
    return Retriable(
        CODE,
        f"{lost} Choose another model; the operator puts them back from a backup or the version that shipped them.",
    )
