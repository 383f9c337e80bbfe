"""DESIGN.md names the test that proves each promise; each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DESIGN = (TESTS.parent / "DESIGN.md").read_text()
TABLE = DESIGN.partition("## Promises")[2].partition("\n## ")[0]
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| promise")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_promise_has_its_tests(row: str) -> None:
    file, named = "", 0
    for reference in re.findall(r"`([\w/.]*(?:::\w+)?)`", row.split("|")[2]):
        path, _, name = reference.partition("::")
        file = path or file
        assert (TESTS / file).is_file(), file
        if name:
            functions = {node.name for node in ast.walk(ast.parse((TESTS / file).read_text())) if _is_function(node)}
            assert name in functions, f"{file}::{name}"
        named += 1
    assert named > 0


def test_the_table_is_there() -> None:
    assert len(ROWS) > 15


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef)
