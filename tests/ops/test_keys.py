"""The operator's commands, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.database import connect
from store.keys import Keys
from store.migrate import upgrade
from store.settings import Settings
from store.tenants import Allowance, Tenants
from tests.harness.ops import ops

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    upgrade(connect(Settings(data_dir=tmp_path).database))
    return tmp_path


def test_the_life_of_a_key(data_dir: Path) -> None:
    keys = Keys(connect(Settings(data_dir=data_dir).database))
    made = ops(data_dir, "keys", "create", "acme", "--scopes", "read,denoise", "--label", "scanner")
    text = made.stdout.strip()
    found = keys.authenticate(text)
    assert found is not None and sorted(found[0].scopes) == ["denoise", "read"]
    assert text not in made.stderr  # so that `> file` keeps it off the screen
    key_id = text.split("_")[1]
    later = ops(data_dir, "keys", "rotate", key_id, "--grace-hours", "0", "--days", "30").stdout.strip()
    assert "no live key" in ops(data_dir, "keys", "rotate", key_id, expect=1).stderr
    assert keys.authenticate(text) is None and keys.authenticate(later) is not None
    ops(data_dir, "keys", "revoke", later.split("_")[1])
    assert keys.authenticate(later) is None
    listed = ops(data_dir, "keys", "list", "acme").stdout
    assert [line.split("\t")[3].split()[0] for line in listed.splitlines()[1:]] == ["expired", "revoked"]
    assert "scanner" in listed and text.split("_", 2)[2] not in listed


def test_bounds_are_set_one_by_one(data_dir: Path) -> None:
    tenants = Tenants(connect(Settings(data_dir=data_dir).database))
    tenants.ensure("acme")
    ops(data_dir, "tenants", "limit", "acme", "--requests-per-minute", "60", "--pixels-per-day", "1000")
    shown = ops(data_dir, "tenants", "limit", "acme", "--requests-per-minute", "-1", "--unfinished-jobs", "5").stdout
    assert tenants.allowance("acme") == Allowance(None, 5, 1000)
    assert shown.splitlines()[1].split("\t") == ["acme", "-", "5", "1000", "-"]
    ops(data_dir, "tenants", "limit", "acme", "--stored-bytes", "70")
    assert tenants.allowance("acme") == Allowance(None, 5, 1000, 70)


def test_mistakes_are_one_line(tmp_path: Path, data_dir: Path) -> None:
    assert "no tenant nobody" in ops(data_dir, "tenants", "limit", "nobody", expect=1).stderr
    assert "ops keys list" in ops(data_dir, "keys", "revoke", "000000000000", expect=1).stderr
    assert "no scope" in ops(data_dir, "keys", "create", "acme", "--scopes", "write", expect=2).stderr
    assert "store.migrate" in ops(tmp_path / "new", "keys", "list", expect=1).stderr
