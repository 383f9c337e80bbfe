"""Documents and code name only files, modules, sections and make targets that are in the checkout."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN = (
    "benchmarks", "client", "courier", "docker", "docs", "examples", "images", "lab", "launch", "model", "ops",
    "service", "store", "tests", "tools", "worker",
)  # fmt: skip
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "client/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # tells of what was
)
CODE = sorted(
    path
    for room in OWN
    for path in (ROOT / room).rglob("*")
    if path.suffix in {".py", ".js", ".html", ".yml"} and path != Path(__file__)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"`((?:{'|'.join(OWN)}|\.ci)/[\w./*-]*?)(?:::\w+)*`")
MODULE = re.compile(rf"python -m ((?:{'|'.join(OWN)})(?:\.\w+)*)")
DOCUMENT = re.compile(r"(?<![\w/])((?:[\w-]+/)*[\w-]+\.md)\b(?:, \"([^\"]+)\"| §(\d))?")
MADE = frozenset({"table.md"})
"""What a command writes where it is told to (`python -m lab reproduce`)."""

TARGET = re.compile(r"`make ([a-z][a-z-]*)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_a_document_names_what_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    missing = [link for link in LINK.findall(text) if not _link_leads(document, link)]
    missing += [path for path in PATH.findall(text) if not _is_there(document, path)]
    missing += [module for module in MODULE.findall(text) if not _is_module(module)]
    assert missing == []


def test_code_cites_documents_and_sections_that_are_there() -> None:
    wrong = []
    for path in [*CODE, *DOCUMENTS]:
        for document, section, number in DOCUMENT.findall(" ".join(path.read_text(encoding="utf-8").split())):
            found = [place for place in (path.parent, ROOT, ROOT / "docs") if (place / document).is_file()]
            if document in MADE:
                continue
            if not found:
                wrong.append(f"{named(path)}: {document}")
            elif section and section not in _headings(found[0] / document):
                wrong.append(f"{named(path)}: {document}, {section}")
            elif number and not any(heading.startswith(f"{number}. ") for heading in _headings(found[0] / document)):
                wrong.append(f"{named(path)}: {document} §{number}")
    assert wrong == []


def test_make_has_every_target_that_a_document_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        assert set(TARGET.findall(document.read_text(encoding="utf-8"))) <= targets, document


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_documents_are_tracked() -> None:
    """A document that is only on this machine would be a dead link for everybody else."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout of git")
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, DOCUMENTS)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == ""


def _link_leads(document: Path, link: str) -> bool:
    if "://" in link:
        return True
    name, _, anchor = link.partition("#")
    target = document.parent / name if name else document
    return target.exists() and (not anchor or anchor in {_slug(heading) for heading in _headings(target)})


def _is_there(document: Path, path: str) -> bool:
    """Whether a file or pattern is in the checkout; DESIGN.md lists its promises' tests below `tests/`."""
    places = (ROOT, ROOT / "tests") if document.name == "DESIGN.md" else (ROOT,)
    return any(found for place in places for found in place.glob(path.rstrip("/")))


def _headings(document: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)


def _slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _is_module(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
