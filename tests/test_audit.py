"""The audit of dependencies fails on what is known, and says so where nothing can be known. OSV is a local server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType

import pytest

from tests.harness.ports import free_port
from tests.harness.receiver import Receiver, receiving, status
from tests.harness.scripts import ROOT, script

HOLE = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "aliases": ["CVE-2026-1"],
    "summary": "Sandbox escape",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.9"}]}],
        }
    ],
}
"""An advisory in OSV's schema 1."""


@pytest.fixture
def audit() -> ModuleType:
    return script("tools/audit.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two locked packages, and no exception."""
    (tmp_path / "requirements-dev.lock").write_text("jinja2==3.1.6\nmarkupsafe==3.0.3\n    # via jinja2\n")
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


@contextmanager
def osv(monkeypatch: pytest.MonkeyPatch, *holes: object) -> Iterator[Receiver]:
    """A server that answers as OSV's /v1/query: these advisories for jinja2, none for anything else."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = json.loads(server.heard[-1].body)["package"]["name"]
        body = json.dumps({"vulns": holes} if holes and asked == "jinja2" else {}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with receiving(answer) as server:
        monkeypatch.setenv("OSV_URL", server.url)
        yield server


def accept(root: Path, until: date) -> None:
    """Make an exception of the advisory, by its other name."""
    text = f'[[tool.audit.exceptions]]\nid = "CVE-2026-1"\nuntil = {until}\nreason = "no template of a stranger"\n'
    (root / "pyproject.toml").write_text(text)


def test_every_locked_package_is_asked_about(
    audit: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with osv(monkeypatch) as server:
        assert audit.main([], root) == 0
    asked = {(body["package"]["name"], body["version"]) for body in (json.loads(one.body) for one in server.heard)}
    assert asked == {("jinja2", "3.1.6"), ("markupsafe", "3.0.3")}
    assert "no known vulnerability in 2 packages" in capsys.readouterr().out


def test_a_known_vulnerability_fails_and_names_its_cure(
    audit: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with osv(monkeypatch, HOLE):
        assert audit.main([], root) == 1
    said = capsys.readouterr().err
    assert said == ("audit: jinja2 3.1.6: CVE-2026-1, GHSA-aaaa-bbbb-cccc: Sandbox escape (fixed in 3.1.9)\n")


@pytest.mark.parametrize(("days", "expected"), [(0, 0), (-1, 1)], ids=["until today", "until yesterday"])
def test_an_exception_holds_until_its_day(
    audit: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch, days: int, expected: int
) -> None:
    accept(root, date.today() + timedelta(days=days))
    with osv(monkeypatch, HOLE):
        assert audit.main([], root) == expected


def test_an_exception_is_for_one_vulnerability(audit: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(root, date.today())
    other = HOLE | {"id": "GHSA-dddd-eeee-ffff", "aliases": []}
    with osv(monkeypatch, HOLE, other):
        assert audit.main([], root) == 1


def test_an_exception_says_why_and_until_when(audit: ModuleType, root: Path) -> None:
    (root / "pyproject.toml").write_text('[[tool.audit.exceptions]]\nid = "CVE-2026-1"\n')
    with pytest.raises(TypeError, match="until"):
        audit.main([], root)
    audit.exceptions(ROOT / "pyproject.toml")


@pytest.mark.parametrize("answer", [None, status(500), status(403), status(404), status(200)])
def test_without_an_answer_one_line_says_so(
    audit: ModuleType,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Callable[[BaseHTTPRequestHandler], None] | None,
) -> None:
    with receiving(answer or status(200)) as server:
        monkeypatch.setenv("OSV_URL", server.url if answer else f"http://127.0.0.1:{free_port()}/")
        for arguments, expected in (([], 0), (["--required"], 1)):
            assert audit.main(arguments, root) == expected
            said = capsys.readouterr()
            assert said.err.startswith("audit: NOT MADE") and said.err.count("\n") == 1
            assert said.out == ""


def test_a_lock_that_pins_nothing_is_no_missing_answer(
    audit: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "requirements-dev.lock").write_text("jinja2>=3\n")
    with osv(monkeypatch), pytest.raises(SystemExit, match="not pinned"):
        audit.main([], root)


def test_what_is_audited_is_all_that_is_installed(audit: ModuleType) -> None:
    def pins(name: str) -> set[str]:
        return {line for line in (ROOT / name).read_text().splitlines() if "==" in line}

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def test_lint_audits() -> None:
    run = subprocess.run(["make", "--dry-run", "lint"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert any(line.endswith("python tools/audit.py") for line in run.stdout.splitlines())
