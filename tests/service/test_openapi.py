import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.app import create_app
from store.settings import Settings
from tests.harness.gateway import Running, png

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
    options = {
        "image",
        "images",
        "model",
        "quality",
        "strength",
        "output_format",
        "roi",
        "normalize",
        "metadata",
        "report",
    }
    options |= {"webhook_url", "output_dtype", "mosaic", "lines"}
    assert set(form["properties"]) == options
    assert form["oneOf"] == [{"required": ["image"]}, {"required": ["images"]}]
    assert form["additionalProperties"] is False


def test_the_form_and_the_query_take_the_same_options(document: dict[str, Any]) -> None:
    post = document["paths"]["/denoise"]["post"]
    form = set(post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]) - {"image", "images"}
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


def everything(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document."""
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from everything(value)


GENERATED_FROM = (
    "application/json",
    "application/problem+json",
    "application/octet-stream",
    "multipart/form-data",
    "text/",
)
"""Media types that openapi-python-client 0.29 makes code of; an answer or body without one is left out of a client."""


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1") and document["info"]["license"]["identifier"] == "Apache-2.0"
    assert not [node for node in everything(document) if "itemSchema" in node]  # OpenAPI 3.2's


def test_titles_of_components_are_unique(document: dict[str, Any]) -> None:
    """Generators name classes by title, and drop the second of a name with whatever uses it."""
    names = Counter(schema.get("title", name) for name, schema in document["components"]["schemas"].items())
    assert [name for name, times in names.items() if times > 1] == []


def test_every_answer_and_body_has_something_to_generate_from(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            assert status in ("204", "304") or answer.get("content"), (name, status)
            kinds = answer.get("content", {})
            assert not kinds or any(kind.startswith(GENERATED_FROM) for kind in kinds), (name, status)
            assert all("schema" in content for content in kinds.values()), (name, status)
        assert all(kind.startswith(GENERATED_FROM) for kind in operation.get("requestBody", {}).get("content", {})), (
            name
        )
        assert "security" in operation, name
        assert any(status.startswith("4") for status in operation["responses"]), name


def test_a_form_untouched_sends_nothing_that_fails(document: dict[str, Any]) -> None:
    """Swagger UI sends examples; generated clients send defaults, in form and query at once, which is refused."""
    for path in ("/denoise", "/finetune"):
        post = document["paths"][path]["post"]
        form = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        query = {one["name"]: one["schema"] for one in post["parameters"] if one["in"] == "query"}
        for name, field in [*form.items(), *query.items()]:
            assert not {"default", "example", "examples", "anyOf", "pattern"} & field.keys(), (path, name)
        for name in ("strength", "seed"):
            assert "Default: " in form.get(name, {"description": "Default: "})["description"]
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            sent = {"example", "examples"} & {*parameter, *parameter["schema"]}
            assert not sent or parameter["name"] in ("model_id", "slug"), (name, parameter["name"])


def test_what_jobs_and_models_show_is_typed(document: dict[str, Any], gateway: Running) -> None:
    schemas = document["components"]["schemas"]
    for name in ("options", "input", "timings", "result"):
        assert "$ref" in json.dumps(schemas["JobView"]["properties"][name]), name
    assert "$ref" in schemas["ModelView"]["properties"]["card"]
    gateway.http.post("/denoise", files={"image": png()}, data={"strength": "0.5", "roi": "0,0,8,8"})
    gateway.succeed(gateway.claim())
    for path, name in (("/jobs", "JobList"), ("/models", "ModelList")):
        shape = document | {"$ref": f"#/components/schemas/{name}"}
        found = gateway.http.get(path).json()
        assert found[path[1:]]
        Draft202012Validator(shape).validate(found)
        kinds = schemas["ImageInput"]["properties"].keys() if path == "/jobs" else ()
        assert not kinds or found["jobs"][0]["input"].keys() <= kinds


def test_the_document_says_where_it_was_asked_for(gateway: Running) -> None:
    for base in ("", "/v1"):
        assert gateway.http.get(f"{base}/openapi.json").json()["servers"][0]["url"] == (base or "/")
