"""The contract of Blobs, on a folder and on S3."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from store.blobs import Blobs, attempt_key, input_key, weights_key
from store.errors import BlobMissing, BlobStoreError, SettingsError
from tests.harness.stores import Store

MIB = 1 << 20


def test_bytes_come_back_whole_in_parts_and_as_a_stream(store: Store) -> None:
    data = os.urandom(3 * MIB + 5)
    store.blobs.put("jobs/a/input", data)
    assert store.blobs.get("jobs/a/input") == data
    assert store.blobs.range("jobs/a/input", 10, 20) == data[10:20]
    assert b"".join(store.blobs.stream("jobs/a/input", MIB)) == data
    info = store.blobs.head("jobs/a/input")
    assert (info.key, info.size) == ("jobs/a/input", len(data))


def test_an_open_file_is_stored_in_parts(store: Store) -> None:
    data = os.urandom(12 * MIB)  # more than one part of a multipart upload
    store.blobs.put("jobs/a/input", io.BytesIO(data))
    assert store.blobs.get("jobs/a/input") == data


def test_a_second_put_replaces_the_first(store: Store) -> None:
    store.blobs.put("jobs/a/input", b"one")
    store.blobs.put("jobs/a/input", b"two!")
    assert store.blobs.get("jobs/a/input") == b"two!"


def test_missing_bytes_are_said_to_be_missing(store: Store) -> None:
    for read in (store.blobs.get, store.blobs.head, lambda key: list(store.blobs.stream(key))):
        with pytest.raises(BlobMissing, match="jobs/none"):
            read("jobs/none")


def test_deleting_is_complete_and_can_be_repeated(store: Store) -> None:
    keys = [input_key("job_a"), attempt_key("job_a", 1, "result.png"), attempt_key("job_a", 2, "report.json")]
    for key in [*keys, input_key("job_ab")]:
        store.blobs.put(key, b"x")
    assert sorted(blob.key for blob in store.blobs.below("jobs/job_a")) == sorted(keys)
    store.blobs.delete_job("job_a")
    store.blobs.delete_job("job_a")
    store.blobs.delete([*keys, input_key("job_ab")])
    assert list(store.blobs.below("jobs")) == []


def test_keys_name_job_and_attempt() -> None:
    assert input_key("job_1") == "jobs/job_1/input"
    assert attempt_key("job_1", 3, "result.png") == "jobs/job_1/3/result.png"
    assert weights_key("ab") == "models/ab.safetensors"


def test_a_healthy_store_passes_its_check(store: Store) -> None:
    store.blobs.check()


def test_a_bucket_that_is_not_there_is_a_failure_and_no_missing_blob(s3_url: str) -> None:
    blobs = Blobs("s3://no-such-bucket/x")
    for call in (lambda: blobs.get("a"), lambda: blobs.put("a", b""), blobs.check):
        with pytest.raises(BlobStoreError):
            call()


def test_a_full_or_forbidden_folder_is_a_failure(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path.as_uri())
    (tmp_path / "jobs").write_text("a file where a folder is needed")
    with pytest.raises(BlobStoreError):
        blobs.put("jobs/a/input", b"x")


def test_a_url_that_names_no_store_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="B2S_BLOB_URL"):
        Blobs("gopher://example.org/x")
    with pytest.raises(SettingsError, match="B2S_DATA_DIR"):
        Blobs((tmp_path / "file" / "blobs").as_uri())


DYING_WRITER = """
import resource, signal, sys
from store.blobs import Blobs
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
Blobs(sys.argv[1]).put("jobs/a/1/result.png", bytes(3_000_000))
"""


def test_what_a_writer_leaves_that_dies_while_it_writes_is_never_read_and_goes_with_its_job(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path.as_uri())
    for job in ("a", "b"):
        blobs.put(f"jobs/{job}/input", b"x")
    for clean in (lambda: blobs.delete_torn(older_seconds=-60), lambda: blobs.delete_job("a")):
        died = subprocess.run([sys.executable, "-c", DYING_WRITER, tmp_path.as_uri()], check=False)
        assert died.returncode == -signal.SIGXFSZ
        with pytest.raises(BlobMissing):
            blobs.get("jobs/a/1/result.png")
        assert [path.name for path in tmp_path.rglob("result*")] == ["result.png#1"]
        assert blobs.delete_torn(older_seconds=3600) == 0
        clean()
        assert list(tmp_path.rglob("result*")) == []
    assert [blob.key for blob in blobs.below("jobs")] == ["jobs/b/input"]
