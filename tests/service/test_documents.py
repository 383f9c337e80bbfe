"""The documents tell the truth: settings.md has the settings, api.md the routes, options and kinds of problems."""

import re
from pathlib import Path

import pytest

from service.app import create_app
from service.http.job_view import JobView, ProgressView
from service.http.openapi import DENOISE_RESPONSES
from service.http.problems import catalogue
from service.http.report_view import FineTuneReportView, ReportView
from store.settings import Settings, variable

DOCS = Path(__file__).parents[2] / "docs"
API = (DOCS / "api.md").read_text(encoding="utf-8")
ROUTE = re.compile(r"`(GET|POST|PUT|DELETE) (/[^\s`]*)`")
PARENTS = {"unauthorized", "forbidden", "conflict", "gone", "too-many-requests"}
"""Kinds that group others and are never answered themselves."""


def settings_table() -> str:
    """The table of all settings as settings.md has it."""
    rows = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default == "" else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        rows.append(f"| `{variable(name)}` | {shown} | {field.description} |")
    return "\n".join(rows)


def section(heading: str) -> str:
    """What stands below a heading of api.md, up to the next one of its level."""
    return API.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_settings_table_is_the_settings() -> None:
    assert settings_table() in (DOCS / "settings.md").read_text(encoding="utf-8")


def test_every_setting_that_a_document_names_exists() -> None:
    known = {variable(name) for name in Settings.model_fields} | {"B2S_URL", "B2S_API_KEY", "B2S_CHROMIUM"}
    for path in [DOCS.parent / "README.md", DOCS.parent / "SECURITY.md", *DOCS.rglob("*.md")]:
        named = set(re.findall(r"\bB2S_[A-Z][A-Z_]+[A-Z]\b", path.read_text(encoding="utf-8")))
        assert named <= known, path


def test_every_route_is_in_the_table_and_no_other() -> None:
    listed = {found for line in section("Routes").splitlines() for found in ROUTE.findall(line)[:1]}
    paths = create_app(Settings()).openapi()["paths"]
    real = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in listed} == {
        (method, re.sub(r"\{\w+\}", "{}", path)) for method, path in real
    }


@pytest.mark.parametrize(("route", "files"), [("/denoise", {"image", "images"}), ("/finetune", {"images"})])
def test_every_option_is_in_the_table(route: str, files: set[str]) -> None:
    body = create_app(Settings()).openapi()["paths"][route]["post"]["requestBody"]
    options = set(body["content"]["multipart/form-data"]["schema"]["properties"]) - files
    assert set(re.findall(r"^\| `(\w+)`", section(f"`POST {route}`"), re.MULTILINE)) == options


def test_every_kind_of_problem_is_in_the_table_with_its_status() -> None:
    listed: dict[str, str] = {}
    for line in section("Errors").splitlines():
        if line.startswith(("| 4", "| 5")):
            statuses, kinds = line.split("|")[1], line.split("|")[2]
            listed |= dict.fromkeys(re.findall(r"`([a-z-]+)`", kinds), statuses)
    kinds = {slug: kind for slug, kind in catalogue().items() if slug not in PARENTS}
    assert set(listed) == set(kinds)
    assert [slug for slug, kind in kinds.items() if str(kind.status) not in listed[slug]] == []


def test_every_field_and_header_of_an_answer_is_named() -> None:
    fields = {*JobView.model_fields, *ProgressView.model_fields, *ReportView.model_fields}
    fields |= FineTuneReportView.model_fields.keys()
    assert {name for name in fields if f"`{name}`" not in API} == set()
    headers = {name for answer in DENOISE_RESPONSES.values() for name in answer.get("headers", {})}
    assert {name for name in headers if f"`{name}" not in API} == set()


def test_every_code_of_a_failed_job_is_told_and_no_other_is() -> None:
    """Codes are first arguments of what ends an attempt, or `code` of an image error; read from the sources."""
    ends = r"(?:Refused|Retriable|JobError)\(\s*\"([a-z_]+)\""
    own = r"^(?:    code|CODE) = \"([a-z_]+)\""
    sources = [path.read_text(encoding="utf-8") for room in ("worker", "store", "images") for path in rooms(room)]
    real = {code for text in sources for code in re.findall(ends, text)}
    real |= {code for text in sources for code in re.findall(own, text, re.MULTILINE)}
    table = section("Jobs").partition("| code |")[2].partition("\n\n")[0]
    listed = {code for line in table.splitlines() for code in re.findall(r"`([a-z_]+)`", line)}
    assert listed - real == set()
    assert {code for code in real - {"image_error"} if f"`{code}`" not in API} == set()  # pictures have codes, too


def rooms(name: str) -> list[Path]:
    return sorted((DOCS.parent / name).rglob("*.py"))
