"""Code and weights say what they may be used for, and the README says it on its first screen."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from safetensors import safe_open

ROOT = Path(__file__).parent.parent
FIRST_SCREEN = 30
WEIGHTS = sorted((ROOT / "model" / "weights").glob("*.safetensors"))


def test_the_code_is_under_apache_2() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0" and project["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text


def test_the_readme_says_so_at_once() -> None:
    first = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:FIRST_SCREEN])
    assert "[Apache-2.0](LICENSE)" in first
    assert "non-commercial research" in first and "docs/models.md#licence" in first


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_a_card_names_the_terms_of_its_images(path: Path) -> None:
    with safe_open(path, "np") as file:
        card = json.loads(file.metadata()["card"])
    assert "BSDS500" not in card["about"] or "non-commercial research" in card["about"]
    for name, source in card.get("sources", {}).items():
        assert source["licence"] and source["author"], name


def test_the_document_counts_the_licences_as_the_cards_do() -> None:
    section = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition("## Licence")[2]
    for path in WEIGHTS:
        with safe_open(path, "np") as file:
            card = json.loads(file.metadata()["card"])
        licences = [source["licence"] for source in card.get("sources", {}).values()]
        for licence in set(licences):
            assert f"{licences.count(licence)} {licence}" in section, (path.stem, licence)
