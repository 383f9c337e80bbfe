"""Bytes that no row names, and datasets that nobody uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from store.blobs import Blobs, dataset_prefix
from store.datasets import DatasetInUse, DatasetNotFound, Datasets
from store.errors import StoreError

log = structlog.get_logger(__name__)

BATCH = 500
Known = Callable[[Sequence[str]], set[str]]


def expire_datasets(datasets: Datasets, blobs: Blobs) -> int:
    """Delete datasets that were not used for B2S_DATASET_DAYS, with their bytes; how many. One in use stays."""
    deleted = 0
    for dataset_id, tenant in datasets.expired():
        with suppress(DatasetInUse, DatasetNotFound):
            datasets.delete(dataset_id, tenant)
            blobs.delete([blob.key for blob in blobs.below(dataset_prefix(dataset_id))])
            deleted += 1
    return deleted


def collect_unnamed(blobs: Blobs, prefix: str, known: Known, older_seconds: float) -> int:
    """Delete the blobs below `prefix` that `known` does not know, once they are old enough; how many.

    Bytes are stored before the row that names them: young ones without a row are no leftovers.
    """
    deleted = 0
    batch: list[str] = []
    for blob in blobs.below(prefix):
        if time.time() - blob.modified.timestamp() >= older_seconds:
            batch.append(blob.key)
        if len(batch) == BATCH:
            deleted += _delete_unknown(blobs, batch, known)
            batch = []
    return deleted + _delete_unknown(blobs, batch, known)


def _delete_unknown(blobs: Blobs, keys: list[str], known: Known) -> int:
    unnamed = sorted(set(keys) - known(keys)) if keys else []
    if not unnamed:
        return 0
    try:
        blobs.delete(unnamed)
    except StoreError as error:
        log.warning("orphans_left", reason=str(error))  # the next sweep finds them again
        return 0
    return len(unnamed)
