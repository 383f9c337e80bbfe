"""`python tools/audit.py [--required]`: ask pip-audit for known vulnerabilities of the locked packages.

Status 1 if a package has one that `[[tool.audit.exceptions]]` of pyproject.toml does not except. Without an answer of
the advisory service (OSV, or the URL in OSV_URL) nothing is known: one line says so, and the status is 0, or 1 with
--required. Anything else that goes wrong is a 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
OSV_URL = "https://api.osv.dev/v1/query"
PATIENCE_SECONDS = 300
NETWORK = re.compile(r"^(?:requests|urllib3|pip_audit)\.\S*?(\w+)(?::|$)", re.MULTILINE)
"""What pip-audit dies of when the service is away, refuses, or is no advisory service."""


class NoAnswer(Exception):
    """The advisory service was not reached, or did not answer as one."""


class Accepted(NamedTuple):
    """A vulnerability that is lived with until a day, and why. From the day after on it counts again."""

    id: str
    until: date
    reason: str


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Audit what `requirements-dev.lock` names, which is all of `requirements.lock` and the tools, and torch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--required", action="store_true", help="fail if the advisory service gives no answer")
    required = parser.parse_args(arguments).required
    try:
        accepted = [one for one in exceptions(root / "pyproject.toml") if one.until >= date.today()]
        locks = [root / "requirements-dev.lock", root / "requirements-torch.lock"]
        audited = [one for lock in locks if lock.exists() for one in ask(lock, [one.id for one in accepted])]
    except NoAnswer as error:
        print(f"audit: NOT MADE, the advisory service gave no answer: {error}", file=sys.stderr)
        return int(required)
    found = [(package, hole) for package in audited for hole in package["vulns"]]
    for package, hole in found:
        print(f"audit: {described(package, hole)}", file=sys.stderr)
    if not found:
        print(f"audit: no known vulnerability in {len(audited)} packages, {len(accepted)} exceptions")
    return int(bool(found))


def exceptions(project: Path) -> list[Accepted]:
    """The exceptions that a pyproject.toml names. Raises TypeError if one lacks its id, day or reason."""
    table = tomllib.loads(project.read_text()).get("tool", {}).get("audit", {})
    return [Accepted(**one) for one in table.get("exceptions", [])]


def ask(lock: Path, accepted: Iterable[str]) -> list[dict[str, Any]]:
    """The packages of a lock file, each with the `vulns` that are known and not accepted.

    Raises:
        NoAnswer: the service was not reached.
        SystemExit: pip-audit failed for another reason, as on a lock file that pins nothing.
    """
    service = os.environ.get("OSV_URL") or OSV_URL
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip", "--format", "json",
        "--progress-spinner", "off", "--vulnerability-service", "osv", "--osv-url", service,
    ]  # fmt: skip
    command += [word for name in accepted for word in ("--ignore-vuln", name)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{service} took more than {PATIENCE_SECONDS} s") from None
    if run.stdout.startswith("{"):
        audited: list[dict[str, Any]] = json.loads(run.stdout)["dependencies"]
        return audited
    if reasons := NETWORK.findall(run.stderr):
        raise NoAnswer(f"{service}, {reasons[-1]}")
    raise SystemExit(f"audit: pip-audit failed\n{run.stderr}")


def described(package: Mapping[str, Any], hole: Mapping[str, Any]) -> str:
    """One line: what is wrong with which package, and the versions in which it is not."""
    names = ", ".join([hole["id"], *hole["aliases"]])
    cure = f"fixed in {', '.join(hole['fix_versions'])}" if hole["fix_versions"] else "no fix yet"
    return f"{package['name']} {package['version']}: {names}: {hole['description'][:120]} ({cure})"


if __name__ == "__main__":
    raise SystemExit(main())
