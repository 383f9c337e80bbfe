"""DESIGN.md names the tests that prove each promise; each of them exists, and the document stays short."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DESIGN = (TESTS.parent / "DESIGN.md").read_text(encoding="utf-8")
LIST = DESIGN.partition("## Promises")[2].partition("\n## ")[0]
PROMISES = [" ".join(item.split()) for item in re.split(r"^- ", LIST, flags=re.MULTILINE)[1:]]
"""Each item of the list on one line: the promise in words, a colon, its tests below `tests/`."""


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[:60])
def test_a_promise_has_its_tests(promise: str) -> None:
    file, named = "", 0
    for reference in re.findall(r"`([\w/]*\.py(?:::\w+)?|::\w+)`", promise.partition(": ")[2]):
        path, _, name = reference.partition("::")
        file = path or file
        assert (TESTS / file).is_file(), file
        if name:
            functions = {node.name for node in ast.walk(ast.parse((TESTS / file).read_text())) if _is_function(node)}
            assert name in functions, f"{file}::{name}"
        named += 1
    assert named > 0


def test_the_list_is_there_and_every_test_in_it_is_looked_for() -> None:
    assert len(PROMISES) > 15
    assert LIST.count("::") == sum(promise.partition(": ")[2].count("::") for promise in PROMISES)


def test_the_document_stays_short() -> None:
    """The house, the truths, the promises and the paper's map; what else is decided goes to `docs/decisions/`."""
    lines = DESIGN.splitlines()
    assert len(lines) <= 150
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef)
