"""Archives opened in the helper: its limits, its end, and whose fault that is."""

from __future__ import annotations

import contextlib
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import sandbox
from images.archive import ArchiveLimits, Member
from images.errors import ArchiveTooLarge, BrokenArchive, DecoderKilled
from images.limits import Limits
from images.sandbox import Sandbox
from tests.harness import files
from tests.harness.helpers import ending_helpers

LIMITS = Limits()


@pytest.fixture
def box() -> Iterator[Sandbox]:
    made = Sandbox()
    yield made
    made.close()


def test_a_helper_that_unpacks_without_end_is_stopped(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    asked: list[float] = []

    def check() -> None:
        asked.append(time.monotonic())
        if len(found) == 3:
            raise Stop

    source, target = tmp_path / "archive", tmp_path / "member"
    source.write_bytes(b"PK\x03\x04")
    box = Sandbox("tests.images.endless_guest")
    try:
        found: list[Member] = []
        for limits, error in [
            (ArchiveLimits(2, 10_000, 10_000), ArchiveTooLarge),
            (ArchiveLimits(99, 2500, 10_000), ArchiveTooLarge),
            (ArchiveLimits(99, 10_000, 10_000), Stop),
        ]:
            found.clear()
            with pytest.raises(error):
                for member in box.unpack(source, target, limits, check):
                    found.append(member)
        assert asked and [(member.name, member.size) for member in found] == [(f"?[2J{n}", 1000) for n in range(3)]
    finally:
        box.close()


def test_a_helper_that_hangs_in_an_archive_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_WALL_OVER_CPU", 0.25)  # of 8 s and some for the next member
    source = tmp_path / "archive"
    source.write_bytes(b"PK\x03\x04")
    box = Sandbox("tests.images.endless_guest")
    found: list[Member] = []
    try:
        with pytest.raises(BrokenArchive):
            for member in box.unpack(source, tmp_path / "member", ArchiveLimits(99, 1 << 40, 10_000)):
                found.append(member)
    finally:
        box.close()
    assert len(found) == 3


@pytest.mark.parametrize("at", [0, 1, 2], ids=["opened", "before its first member", "after it"])
def test_a_helper_killed_in_an_archive_is_nobodys_fault(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: int
) -> None:
    source, target = tmp_path / "archive", tmp_path / "member"
    with zipfile.ZipFile(source, "w") as archive:
        for name in ("one", "two"):
            archive.writestr(name, name)
    victims = ending_helpers(monkeypatch, box, signal.SIGKILL, {at})
    found: list[str] = []
    with pytest.raises(DecoderKilled) if at == 2 else contextlib.nullcontext():
        for member in box.unpack(source, target, ArchiveLimits(9, 1000, 1000)):
            found.append(member.name)
    assert len(victims) == 1 and found == (["one"] if at == 2 else ["one", "two"])


def test_a_damaged_archive_costs_its_helper_only(tmp_path: Path, box: Sandbox) -> None:
    source = tmp_path / "archive"
    source.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(BrokenArchive):
        list(box.unpack(source, tmp_path / "member", ArchiveLimits(9, 1000, 1000)))
    assert box.decode(files.png(files.noise((9, 8, 3))), LIMITS).pixels.shape == (1, 9, 8, 3)
