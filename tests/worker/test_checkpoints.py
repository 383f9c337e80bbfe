"""Checkpoints in the blob store, scratch folders, and what is left of datasets and models."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from store.datasets import Datasets
from tests.harness.stores import Store
from worker.checkpoints import Checkpoints
from worker.leftovers import collect_unnamed, expire_datasets
from worker.scratch import PREFIX, scratch_folder

ROOT = Path(__file__).parents[2]


def test_the_newest_whole_one_is_found(store: Store) -> None:
    checkpoints = Checkpoints(store.blobs, "job_1")
    assert checkpoints.newest() is None
    for data in (b"one", b"two", b"three"):
        assert checkpoints.write(data)
    names = sorted(blob.key for blob in store.blobs.below("jobs/job_1/checkpoints"))
    assert [name.rpartition("/")[2][:6] for name in names] == ["000002", "000003"]
    assert checkpoints.newest() == b"three"
    store.blobs.put(names[-1], b"thre")  # rotten
    assert checkpoints.newest() == b"two"
    assert Checkpoints(store.blobs, "job_1").write(b"four")
    assert checkpoints.newest() == b"four"
    checkpoints.delete()
    assert checkpoints.newest() is None


def test_a_folder_is_gone_afterwards_and_a_left_one_too(tmp_path: Path) -> None:
    code = f"""
import os, signal
from worker.scratch import scratch_folder
with scratch_folder({str(tmp_path)!r}) as folder:
    (folder / "big").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    (left,) = tmp_path.glob(f"{PREFIX}*")
    assert (left / "big").exists()
    with scratch_folder(str(tmp_path)) as young:
        assert left.exists()  # perhaps somebody is about to lock it
        old = time.time() - 3600
        os.utime(left, (old, old))
        os.utime(young, (old, old))
        with scratch_folder(str(tmp_path)) as mine:
            assert not left.exists()
            assert young.exists() and mine.exists()  # the lock says that this one is in use
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


def test_unnamed_bytes_are_collected_and_named_ones_stay(store: Store) -> None:
    datasets = Datasets(store.engine, store.settings)
    dataset = datasets.create("t", None)
    for name in ("named", "unnamed"):
        store.blobs.put(f"datasets/{dataset.id}/{name}", b"x")
    datasets.put_image(dataset.id, "t", "a", f"datasets/{dataset.id}/named", 1, 1, "s")
    assert collect_unnamed(store.blobs, "datasets", datasets.known_keys, older_seconds=3600) == 0
    assert collect_unnamed(store.blobs, "datasets", datasets.known_keys, older_seconds=-60) == 1
    assert [blob.key for blob in store.blobs.below("datasets")] == [f"datasets/{dataset.id}/named"]


def test_an_unused_dataset_expires_and_a_used_one_stays(store: Store) -> None:
    datasets = Datasets(store.engine, store.settings.model_copy(update={"dataset_days": 1e-9}))
    unused, used = datasets.create("t", "unused"), datasets.create("t", "used")
    store.blobs.put(f"datasets/{unused.id}/x", b"x")
    store.queued(tenant="t", dataset_id=used.id)
    time.sleep(0.01)
    assert expire_datasets(datasets, store.blobs) == 1
    assert [dataset.name for dataset in datasets.page("t").datasets] == ["used"]
    assert list(store.blobs.below(f"datasets/{unused.id}")) == []
