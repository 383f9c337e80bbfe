"""JSON that is nested without end is refused as such by every route that reads a body, and is nobody's bug."""

from __future__ import annotations

from itertools import product

import httpx
import pytest

from tests.harness.gateway import Running

DEEP = {
    "arrays": b"[" * 30_000,
    "closed": b"[" * 30_000 + b"]" * 30_000,
    "objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "in a field": b'{"seed": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a hundred thousand": b"[" * 60_000,
}
SHALLOWER = [b'{"seed": ' + b"[" * depth + b"]" * depth + b"}" for depth in (50, 200, 500, 800, 950, 990)]
CHANGING = ("POST", "PUT", "PATCH", "DELETE")


def send(gateway: Running, method: str, path: str, body: bytes) -> httpx.Response:
    return gateway.http.request(method, path, content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("path", ["/datasets", "/finetune"])
def test_a_body_nested_without_end_is_a_400(gateway: Running, path: str, kind: str) -> None:
    answer = send(gateway, "POST", path, DEEP[kind])
    assert answer.status_code == 400, answer.text
    assert "nested" in answer.json()["detail"] and answer.json()["type"].endswith("bad-request")


@pytest.mark.parametrize("body", SHALLOWER, ids=len)
@pytest.mark.parametrize("path", ["/datasets", "/finetune"])
def test_a_body_that_a_parser_takes_is_judged_by_its_fields(gateway: Running, path: str, body: bytes) -> None:
    assert send(gateway, "POST", path, body).status_code in (400, 422)


def test_no_route_stumbles_over_it(gateway: Running) -> None:
    paths = gateway.http.get("/openapi.json").json()["paths"]
    routes = [(method, path) for path, of in paths.items() for method in CHANGING if method.lower() in of]
    assert len(routes) >= 10
    for (method, path), body in product(routes, [*DEEP.values(), *SHALLOWER[-2:]]):
        filled = "/".join("x" if part.startswith("{") else part for part in path.split("/"))
        assert send(gateway, method, filled, body).status_code < 500, (method, path)
