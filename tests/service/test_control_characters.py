"""A NUL in any text of a request: PostgreSQL keeps none, so each is refused before it gets there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from service.app import create_app
from store.schema import metadata
from store.settings import Settings
from tests.harness.gateway import Running, png, running_gateway

DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()
OPERATIONS = [(method, path, item[method]) for path, item in DOCUMENT["paths"].items() for method in item]
IN_PATH = [(method, path) for method, path, _ in OPERATIONS if "{" in path]
IN_QUERY = [
    (method, path, parameter["name"])
    for method, path, operation in OPERATIONS
    for parameter in operation.get("parameters", [])
    if parameter["in"] == "query" and path not in ("/denoise", "/finetune")  # their options are asked as fields too
]


class Ids(dict[str, str]):
    """What stands for the ids of a path: a dataset's, and for any other some word."""

    def __init__(self, dataset_id: str) -> None:
        super().__init__(dataset_id=dataset_id)

    def __missing__(self, name: str) -> str:
        return name


@pytest.fixture(scope="module")
def on_postgresql(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, postgres_engine: Engine
) -> Iterator[Running]:
    with postgres_engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
    with running_gateway(tmp_path_factory.mktemp("data"), database_url=postgres_url) as gateway:
        yield gateway


@pytest.mark.parametrize(("method", "path"), IN_PATH)
def test_in_a_path(on_postgresql: Running, method: str, path: str) -> None:
    while "{" in path:
        path = path[: path.index("{")] + "a%00b" + path[path.index("}") + 1 :]
    answer = on_postgresql.http.request(method, path, content=png() if method == "put" else None)
    assert answer.status_code in (404, 422), answer.text


@pytest.mark.parametrize(("method", "path", "name"), IN_QUERY)
def test_in_a_query(on_postgresql: Running, method: str, path: str, name: str) -> None:
    dataset = on_postgresql.http.post("/datasets").json()  # an unknown one is refused before its query is looked at
    answer = on_postgresql.http.request(method, path.format_map(Ids(dataset["id"])), params={name: "a\0b"})
    assert answer.status_code in (404, 422), answer.text


@pytest.mark.parametrize("character", ["\0", "\n", "\x1b", "\x7f", "\x85"])
@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/denoise", "webhook_url", "https://example.com/a{}b"),
        ("/denoise", "model", "a{}b"),
        ("/denoise", "roi", "0,0,1,1{}"),
        ("/finetune", "webhook_url", "https://example.com/a{}b"),
        ("/finetune", "name", "a{}b"),
        ("/finetune", "base_model", "a{}b"),
        ("/finetune", "dataset_id", "a{}b"),
    ],
)
def test_in_an_option(on_postgresql: Running, path: str, name: str, value: str, character: str) -> None:
    field = "image" if path == "/denoise" else "images"
    options = {name: value.format(character)}
    for data, params in ((options, {}), ({}, options)):
        answer = on_postgresql.http.post(path, files={field: ("a.png", png())}, data=data, params=params)
        assert answer.status_code == 422, answer.text
        assert name in answer.json()["detail"]


def test_in_the_name_of_a_dataset_and_of_a_file(on_postgresql: Running) -> None:
    assert on_postgresql.http.post("/datasets", json={"name": "a\0b"}).status_code == 422
    lone = {"content": '{"name": "\\ud800"}', "headers": {"Content-Type": "application/json"}}  # half a character
    assert on_postgresql.http.post("/datasets", **lone).status_code == 422  # type: ignore[arg-type]
    made = on_postgresql.http.post("/finetune", files=[("images", ("a\0b.png", png()))])
    assert made.status_code in (202, 422), made.text  # shown as a?b.png, or refused by the form
