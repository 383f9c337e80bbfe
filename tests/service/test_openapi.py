import json
from typing import Any

import pytest

from service.app import create_app
from store.settings import Settings
from tests.service.gateway import Running

METHODS = {"get", "post", "put", "delete", "patch"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = create_app(Settings()).openapi()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{m} {p}", item[m]) for p, item in document["paths"].items() for m in item if m in METHODS]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert len(found) > 50
    for reference in found:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_operation_can_be_generated_from(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids)) >= 15
    for name, operation in operations(document):
        assert operation["summary"] and operation["description"], name
        assert operation["tags"], name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description") or parameter["schema"].get("description"), (name, parameter["name"])


def test_every_problem_answer_is_documented_as_one(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status == "default" or (int(status) >= 400 and "readyz" not in name):
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
        assert "default" in operation["responses"], name


def test_the_body_of_denoise_lists_every_option(document: dict[str, Any]) -> None:
    form = document["paths"]["/denoise"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    options = {"image", "model", "strength", "output_format", "roi", "normalize", "metadata", "report", "webhook_url"}
    assert set(form["properties"]) == options
    assert form["required"] == ["image"] and form["additionalProperties"] is False


def test_the_form_and_the_query_take_the_same_options(document: dict[str, Any]) -> None:
    post = document["paths"]["/denoise"]["post"]
    form = set(post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]) - {"image"}
    query = {parameter["name"] for parameter in post["parameters"] if parameter["in"] == "query"} - {"wait"}
    assert form == query


def test_every_route_is_there_under_v1_too() -> None:
    app = create_app(Settings())
    paths = set(app.openapi()["paths"])
    assert len(paths) >= 15
    matched = {path for path in paths for route in app.routes if _serves(route, "/v1" + path)}
    assert matched == paths


def _serves(route: Any, path: str) -> bool:
    concrete = path.replace("{", "").replace("}", "")
    for method in ("GET", "POST", "DELETE"):
        match, _ = route.matches({"type": "http", "path": concrete, "method": method, "root_path": "", "headers": []})
        if match.name == "FULL":
            return True
    return False


def test_no_secret_of_the_framework_leaks(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in json.dumps(document)


def test_the_docs_page_needs_nothing_from_elsewhere(gateway: Running) -> None:
    for base in ("", "/v1"):
        page = gateway.http.get(f"{base}/docs")
        assert page.status_code == 200 and "://" not in page.text
        for line in page.text.splitlines():
            for name in ("href", "src", "data-openapi"):
                if f'{name}="/' in line:
                    path = line.split(f'{name}="')[1].split('"')[0]
                    assert gateway.http.get(path).status_code == 200, path


def test_the_index_names_paths_that_work(gateway: Running) -> None:
    index = gateway.http.get("/").json()
    for name, path in index.items():
        if name not in ("name", "version", "denoise"):
            assert gateway.http.get(path).status_code == 200, path
