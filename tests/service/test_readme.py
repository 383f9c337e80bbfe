"""The README tells the truth: its settings are the settings, its routes the routes, its limits the limits."""

import re
from pathlib import Path

import pytest

from service.app import create_app
from store.settings import Settings, variable

README = Path(__file__).parents[2] / "README.md"


def settings_table() -> str:
    """The table of all settings as the README has it."""
    rows = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default == "" else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        rows.append(f"| `{variable(name)}` | {shown} | {field.description} |")
    return "\n".join(rows)


def test_the_settings_table_is_the_settings() -> None:
    assert settings_table() in README.read_text()


def test_every_route_is_in_the_table_and_no_other() -> None:
    section = README.read_text().split("## Routes")[1].split("\n## ")[0]
    listed = set(re.findall(r"`(GET|POST|PUT|DELETE) (/\S*)`", section))
    paths = create_app(Settings()).openapi()["paths"]
    real = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in listed} == {
        (method, re.sub(r"\{\w+\}", "{}", path)) for method, path in real
    }


@pytest.mark.parametrize(("route", "files"), [("/denoise", {"image"}), ("/finetune", {"images"})])
def test_every_option_is_in_the_table(route: str, files: set[str]) -> None:
    section = README.read_text().split(f"### Options of `POST {route}`")[1].split("\n##")[0]
    body = create_app(Settings()).openapi()["paths"][route]["post"]["requestBody"]
    options = set(body["content"]["multipart/form-data"]["schema"]["properties"]) - files
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == options
