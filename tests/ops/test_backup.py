"""The drill: back up, restore into an empty system of another make, and serve what was there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import Engine, MetaData, Table, func, insert, select, text, update

from ops import __main__ as command
from ops import snapshot
from ops.backup import BackupBroken, write_backup
from ops.restore import NotEmpty, read_backup
from store.blobs import Blobs, attempt_key
from store.database import connect
from store.datasets import Datasets
from store.job import Job, Outcome
from store.jobs import Jobs
from store.keys import Keys, Scope
from store.migrate import upgrade
from store.models import Models
from store.schema import metadata, models, webhook_secrets
from store.settings import Settings
from store.tenants import Allowance, Tenants
from store.usage import Usage
from store.webhooks import Webhooks
from store.workers import Workers
from tests.harness.gateway import running_gateway
from tests.harness.ops import ROOT, ops
from tests.harness.stores import OLD_JOB, Store

RESULT = bytes(range(256)) * 20_000


def furnished(store: Store) -> tuple[str, Job]:
    """A tenant with a key, bounds, a webhook secret and a finished job, besides one that waits."""
    key = Keys(store.engine).create("acme", [Scope.READ])
    Tenants(store.engine).set_allowance("acme", Allowance(pixels_per_day=10_000))
    job = store.running(tenant="acme", options={"webhook_url": "https://x.example/"})
    result = attempt_key(job.id, 1, "result.png")
    store.blobs.put(result, RESULT)
    facts = {"media_type": "image/png", "extension": ".png", "bytes": len(RESULT), "sha256": "0" * 64}
    done = store.jobs.finish(job, Outcome(result, facts, {"compute": 1.0}))
    store.queued(tenant="acme")
    assert done is not None
    return key, done


def counts(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in snapshot.tables()
        }


def empty_system(folder: Path) -> tuple[Settings, Engine, Blobs]:
    folder.mkdir()
    settings = Settings(data_dir=folder)
    return settings, connect(settings.database), Blobs(settings.blobs)


def test_an_old_result_is_served_from_a_restored_system(store: Store, tmp_path: Path) -> None:
    key, job = furnished(store)
    secret = Webhooks(store.engine).secret("acme")
    written = write_backup(store.engine, store.blobs, tmp_path / "backup.tar")
    assert (tmp_path / "backup.tar").stat().st_mode & 0o077 == 0
    settings, engine, blobs = empty_system(tmp_path / "new")
    restored = read_backup(engine, blobs, tmp_path / "backup.tar")
    assert (restored.rows, restored.blobs) == (sum(written.rows.values()), written.blobs)
    assert counts(engine) == counts(store.engine) == written.rows
    assert Webhooks(engine).secret("acme") == secret
    assert Usage(engine).accepted_today("acme") == Usage(store.engine).accepted_today("acme")
    engine.dispose()
    with running_gateway(settings.data_dir) as gateway:
        headers = {"Authorization": f"Bearer {key}"}
        assert gateway.http.get(f"/jobs/{job.id}/result", headers=headers).content == RESULT
        shown = gateway.http.get(f"/jobs/{job.id}", headers=headers).json()
        assert shown["finished_at"] == job.finished_at.isoformat().replace("+00:00", "Z")  # type: ignore[union-attr]
        assert gateway.http.get(f"/jobs/{job.id}/result").status_code == 401
        waiting = gateway.services.jobs.claim(job.kind, "w")  # the queue goes on
        assert waiting is not None and waiting.tenant == "acme"


def test_a_restore_fits_the_other_kind_of_store_too(tmp_path: Path, store: Store) -> None:
    """From a folder with SQLite into whichever store the test runs on, PostgreSQL and S3 for one."""
    _, engine, blobs = empty_system(tmp_path / "old")
    upgrade(engine)
    from tests.harness.stores import open_store

    old = open_store(Settings(data_dir=tmp_path / "old"), engine)
    _, job = furnished(old)
    write_backup(engine, blobs, tmp_path / "backup.tar")
    read_backup(store.engine, store.blobs, tmp_path / "backup.tar")
    assert store.jobs.get(job.id) == old.jobs.get(job.id)
    assert store.blobs.get(str(job.result_key)) == RESULT
    assert store.jobs.events(job.id) == old.jobs.events(job.id)


def test_rows_are_of_one_moment_while_the_service_goes_on(store: Store) -> None:
    furnished(store)
    before = counts(store.engine)
    with snapshot.reading(store.engine) as connection:
        seen = {}
        for table in snapshot.tables():
            seen[table.name] = sum(1 for _ in snapshot.lines(connection, table))
            with ThreadPoolExecutor(1) as pool:  # a writer is not kept waiting
                pool.submit(store.queued, tenant="acme").result(timeout=60)
    assert seen == before
    assert counts(store.engine)["jobs"] > before["jobs"]


def test_an_old_database_is_backed_up_by_newer_code(tmp_path: Path, bare_postgres: Engine) -> None:
    """An upgrade begins with a backup, and by then the new code is there. Both kinds of database, either way."""
    _, sqlite, blobs = empty_system(tmp_path / "old")
    for number, (old, new) in enumerate([(sqlite, bare_postgres), (bare_postgres, sqlite)]):
        path = tmp_path / f"{number}.tar"
        for engine in (old, new):
            with engine.begin() as connection:
                metadata.drop_all(connection)
                connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
        upgrade(old, "0005")
        old_job = Table("jobs", MetaData(), autoload_with=old)
        assert "device" not in old_job.columns
        with old.begin() as connection:
            connection.execute(insert(old_job).values(OLD_JOB | {"created_at": datetime.now(UTC)}))
            connection.execute(insert(webhook_secrets).values(tenant="acme", secret="whsec_x"))
        assert write_backup(old, blobs, path).rows["jobs"] == 1
        read_backup(new, blobs, path)
        assert Jobs(new, Settings(data_dir=tmp_path)).get("job_old").options == {"strength": 0.5}
        assert counts(new)["webhook_secrets"] == 1


def test_a_database_from_before_a_table_is_backed_up(tmp_path: Path) -> None:
    _, old, blobs = empty_system(tmp_path / "old")
    upgrade(old, "0002")
    Keys(old).create("acme", [Scope.READ])
    written = write_backup(old, blobs, tmp_path / "backup.tar")
    assert (written.rows["keys"], written.rows["datasets"]) == (1, 0)
    _, new, blobs = empty_system(tmp_path / "new")
    read_backup(new, blobs, tmp_path / "backup.tar")
    assert counts(new) == written.rows


@pytest.fixture
def bare_postgres(postgres_url: str) -> Iterator[Engine]:
    """A database of its own without tables."""
    root = connect(Settings(database_url=postgres_url).database)
    with root.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS bare"))
        connection.execute(text("CREATE DATABASE bare"))
    root.dispose()
    engine = connect(Settings(database_url=postgres_url.replace("/postgres?", "/bare?")).database)
    yield engine
    engine.dispose()


@pytest.fixture
def backup(store: Store, tmp_path: Path) -> Path:
    furnished(store)
    write_backup(store.engine, store.blobs, tmp_path / "backup.tar")
    return tmp_path / "backup.tar"


def test_a_file_that_is_not_whole_changes_nothing(backup: Path, tmp_path: Path) -> None:
    data = backup.read_bytes()
    at = data.index(RESULT[:64])
    broken = {
        "cut in a blob": data[: at + 1000],
        "cut between members": data[: len(data) // 512 // 2 * 512],
        "a flipped bit": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "empty": b"",
        "something else": b"PK\x03\x04" + bytes(10_000),
    }
    _, engine, blobs = empty_system(tmp_path / "new")
    for what, content in broken.items():
        (tmp_path / "broken.tar").write_bytes(content)
        with pytest.raises(BackupBroken, match=r"broken\.tar"):
            read_backup(engine, blobs, tmp_path / "broken.tar")
        assert list(blobs.below("")) == [], what


def test_a_system_in_use_is_left_alone(backup: Path, store: Store) -> None:
    before = counts(store.engine)
    with pytest.raises(NotEmpty, match="B2S_DATABASE_URL"):
        read_backup(store.engine, store.blobs, backup)
    assert counts(store.engine) == before


@pytest.mark.parametrize("made", ["a webhook secret", "a dataset", "a tenant", "a model"])
def test_whatever_somebody_made_keeps_a_restore_out(backup: Path, tmp_path: Path, made: str) -> None:
    settings, engine, blobs = empty_system(tmp_path / "new")
    upgrade(engine)
    weights = ("somebody's", 1, {}, "models/x.safetensors", 3, "0" * 64)
    Models(engine).register("shipped", *weights)  # a gateway's start does
    Workers(engine).register("host", "ncnn-float32")  # a worker's does
    with engine.connect() as connection:
        assert snapshot.is_empty(connection)
    match made:
        case "a webhook secret":
            Webhooks(engine).secret("acme")
        case "a dataset":
            Datasets(engine, settings).create("acme", "cells")
        case "a tenant":
            Tenants(engine).ensure("acme")
        case "a model":
            with engine.begin() as connection:
                connection.execute(update(models).values(tenant="acme"))
    before = counts(engine)
    with pytest.raises(NotEmpty, match="in use"):
        read_backup(engine, blobs, backup)
    assert counts(engine) == before
    assert list(blobs.below("")) == []


def test_who_comes_while_blobs_are_written_is_not_merged_into(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine, blobs = empty_system(tmp_path / "new")
    put = blobs.put

    def slow(key: str, data: Any) -> None:
        put(key, data)
        Webhooks(engine).secret("other")

    monkeypatch.setattr(blobs, "put", slow)
    with pytest.raises(NotEmpty):
        read_backup(engine, blobs, backup)
    assert sum(counts(engine).values()) == 1


def test_an_error_of_the_database_shows_no_row(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def restore() -> None:
        with store.engine.begin() as connection:
            for _ in range(2):
                connection.execute(insert(webhook_secrets).values(tenant="acme", secret="whsec_hidden"))

    monkeypatch.setattr(command, "app", Mock(side_effect=restore))
    with pytest.raises(SystemExit):
        command.main()
    said = capsys.readouterr().err
    assert "unique" in said.lower() and said.count("\n") == 1
    assert "whsec_hidden" not in said and "acme" not in said


def test_a_backup_that_fails_leaves_no_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    furnished(store)

    def cut(*_: Any) -> Any:
        yield RESULT[:10]

    monkeypatch.setattr(store.blobs, "stream", cut)
    with pytest.raises(Exception, match="deleted while it was read"):
        write_backup(store.engine, store.blobs, tmp_path / "backup.tar")
    assert list(tmp_path.glob("*backup*")) == []


def test_the_two_commands(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    upgrade(connect(Settings(data_dir=tmp_path / "old").database))
    ops(tmp_path / "old", "keys", "create", "acme")
    assert "1 rows" not in ops(tmp_path / "old", "backup", str(tmp_path / "b.tar")).stdout
    ops(tmp_path / "new", "restore", str(tmp_path / "b.tar"))
    assert "acme" in ops(tmp_path / "new", "keys", "list").stdout
    assert "in use" in ops(tmp_path / "new", "restore", str(tmp_path / "b.tar"), expect=1).stderr
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.getnames()[-1] == "end.json"


def test_a_pipe_carries_a_backup(tmp_path: Path) -> None:
    """As Compose runs both: a container cannot write into the operator's folder, so bytes go through the pipe."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    upgrade(connect(Settings(data_dir=tmp_path / "old").database))
    ops(tmp_path / "old", "keys", "create", "acme")
    Blobs(Settings(data_dir=tmp_path / "old").blobs).put("jobs/x/input", RESULT)
    python = f"{sys.executable} -m ops"
    script = f"set -o pipefail; B2S_DATA_DIR=$1 {python} backup - | B2S_DATA_DIR=$2 {python} restore -"
    through = ["bash", "-c", script, "bash", str(tmp_path / "old"), str(tmp_path / "new")]
    done = subprocess.run(through, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "It holds secrets" in done.stderr and "1 blobs" in done.stdout
    assert "acme" in ops(tmp_path / "new", "keys", "list").stdout
    assert Blobs(Settings(data_dir=tmp_path / "new").blobs).get("jobs/x/input") == RESULT


def test_a_pipe_that_breaks_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    upgrade(connect(Settings(data_dir=tmp_path / "old").database))
    Blobs(Settings(data_dir=tmp_path / "old").blobs).put("jobs/x/input", RESULT)
    python = f"{sys.executable} -m ops"
    cut = ["bash", "-c", f"set -o pipefail; {python} backup - | head -c 20000 > {tmp_path / 'half.tar'}"]
    environment = {"PATH": os.environ["PATH"], "B2S_DATA_DIR": str(tmp_path / "old")}
    done = subprocess.run(cut, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    restoring = ["bash", "-c", f"{python} restore - < {tmp_path / 'half.tar'}"]
    environment["B2S_DATA_DIR"] = str(tmp_path / "new")
    done = subprocess.run(
        restoring, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1 and done.stderr.startswith("standard input is damaged"), done.stderr
