"""Every route against every kind of key: what is asked for it, and that nothing of another tenant can be seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from service.app import create_app
from service.edge.rates import Rates
from service.http import problems
from store.ids import new_id
from store.job import JobKind, NewJob
from store.keys import DEFAULT_SCOPES, Keys, Scope, new_key
from store.settings import Settings
from store.tenants import Allowance, Tenants
from tests.harness.gateway import Running, png, problem_of, running_gateway

PUBLIC = {
    "GET /", "GET /livez", "GET /readyz", "GET /docs", "GET /openapi.json", "GET /problems", "GET /problems/{slug}",
}  # fmt: skip
"""What answers without a key: nothing in it belongs to anybody."""

SCOPES = {
    "POST /denoise": Scope.DENOISE,
    "GET /jobs": Scope.READ,
    "GET /jobs/{job_id}": Scope.READ,
    "GET /jobs/{job_id}/result": Scope.READ,
    "HEAD /jobs/{job_id}/result": Scope.READ,
    "GET /jobs/{job_id}/results": Scope.READ,
    "GET /jobs/{job_id}/results/{index:int}/report": Scope.READ,
    "GET /jobs/{job_id}/results/{which:path}": Scope.READ,
    "HEAD /jobs/{job_id}/results/{which:path}": Scope.READ,
    "GET /jobs/{job_id}/report": Scope.READ,
    "GET /jobs/{job_id}/report.png": Scope.READ,
    "GET /jobs/{job_id}/preview.png": Scope.READ,
    "HEAD /jobs/{job_id}/preview.png": Scope.READ,
    "HEAD /jobs/{job_id}/report.png": Scope.READ,
    "GET /jobs/{job_id}/events": Scope.READ,
    "POST /jobs/{job_id}/cancel": Scope.DENOISE,
    "DELETE /jobs/{job_id}": Scope.DENOISE,
    "GET /models": Scope.READ,
    "GET /models/{model_id}": Scope.READ,
    "GET /models/{model_id}/weights": Scope.READ,
    "DELETE /models/{model_id}": Scope.FINETUNE,
    "POST /finetune": Scope.FINETUNE,
    "POST /datasets": Scope.FINETUNE,
    "GET /datasets": Scope.READ,
    "GET /datasets/{dataset_id}": Scope.READ,
    "DELETE /datasets/{dataset_id}": Scope.FINETUNE,
    "GET /datasets/{dataset_id}/images": Scope.READ,
    "PUT /datasets/{dataset_id}/images/{name:path}": Scope.FINETUNE,
    "DELETE /datasets/{dataset_id}/images/{name:path}": Scope.FINETUNE,
    "GET /webhooks": Scope.READ,
    "GET /webhooks/{delivery_id}": Scope.READ,
    "POST /webhooks/{delivery_id}/replay": Scope.DENOISE,
    "GET /usage": Scope.READ,
    "GET /metrics": Scope.ADMIN,
}
"""The scope of every other route."""


class Guarded:
    """A gateway with keys, and things of the tenant `acme` in it."""

    def __init__(self, gateway: Running) -> None:
        self.gateway = gateway
        self.keys = Keys(gateway.services.engine)
        self.right = self.keys.create("acme", [Scope.ADMIN])
        gateway.wait_until_closed()
        self.revoked = self.keys.create("acme", [Scope.ADMIN])
        self.keys.revoke(self.revoked.split("_")[1])
        self.stranger = self.keys.create("other", DEFAULT_SCOPES)
        self.model()
        job = gateway.services.jobs.create(
            NewJob(new_id("job"), JobKind.DENOISE, {"webhook_url": "https://x.example"}, {}, None, 1, tenant="acme")
        ).job
        gateway.services.jobs.request_cancel(job.id)
        self.delivery = gateway.services.webhooks.page("acme").deliveries[0].id

    def model(self) -> None:
        """Make (again) a model that is `acme`'s."""
        services = self.gateway.services
        services.blobs.put("models/acme.safetensors", b"weights")
        services.models.register("mdl_acme", "acme", 1, {}, "models/acme.safetensors", 7, "0" * 64, tenant="acme")

    def dataset(self) -> str:
        """A new dataset of `acme`'s with one image in it."""
        found: str = self.ask("POST /datasets", self.right).json()["id"]
        put = self.ask(f"PUT /datasets/{found}/images/a.png", self.right, content=png())
        assert put.status_code in (200, 201), put.text
        return found

    def with_scopes(self, *scopes: Scope) -> str:
        return self.keys.create("acme", scopes)

    def all_but(self, scope: Scope) -> str:
        return self.with_scopes(*(other for other in Scope if other not in (scope, Scope.ADMIN)))

    def ask(self, route: str, key: str | None, **given: Any) -> httpx.Response:
        method, path = route.split()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self.gateway.http.request(method, path, headers=headers | given.pop("headers", {}), **given)

    def post(self, key: str, **given: Any) -> httpx.Response:
        return self.ask("POST /denoise", key, files={"image": ("x.png", png())}, **given)

    def path(self, route: str) -> str:
        """The route with the ids of things that are `acme`'s."""
        job = self.post(self.right).json()["id"] if "{job_id}" in route else ""
        if job and "cancel" not in route:
            self.gateway.succeed(self.gateway.claim())
        dataset = self.dataset() if "{dataset_id}" in route else ""
        if "{model_id}" in route:
            self.model()
        for part, value in (("{name:path}", "a.png"), ("{index:int}", "0"), ("{which:path}", "0")):
            route = route.replace(part, value)
        return route.format(job_id=job, model_id="mdl_acme", dataset_id=dataset, delivery_id=self.delivery)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with running_gateway(tmp_path_factory.mktemp("guarded"), picture_seconds=0.2) as gateway:
        yield Guarded(gateway)


@pytest.fixture(autouse=True)
def empty(guarded: Guarded) -> Iterator[None]:
    yield
    guarded.gateway.forget()


def api_routes(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """The routes of an application, those of the routers it includes too."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):  # FastAPI keeps an included router as one entry
            yield from api_routes(route.original_router.routes)


def test_every_route_is_public_or_has_a_scope() -> None:
    found = {
        f"{method} {route.path}" for route in api_routes(create_app(Settings()).routes) for method in route.methods
    }
    assert found == PUBLIC | SCOPES.keys()


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("route", SCOPES)
def test_a_route_asks_for_a_live_key_of_its_scope(guarded: Guarded, route: str, prefix: str) -> None:
    method, path = guarded.path(route).split()
    asked = f"{method} {prefix}{path}"
    refused = [
        (None, 401, "key-missing"),
        ("b2s_wrong", 401, "key-refused"),
        (guarded.right[:-1] + ("A" if guarded.right[-1] != "A" else "B"), 401, "key-refused"),
        (guarded.revoked, 401, "key-refused"),
        (guarded.all_but(SCOPES[route]), 403, "scope-missing"),
    ]
    for key, status, slug in refused:
        answer = guarded.ask(asked, key)
        assert answer.status_code == status, (key, answer.text)
        if method != "HEAD":
            document = problem_of(answer, status, slug)
            assert "operator" in document["detail"]
        assert ("www-authenticate" in answer.headers) == (status == 401)
    allowed = guarded.ask(asked, guarded.with_scopes(SCOPES[route]))
    assert allowed.status_code not in (401, 403), allowed.text


@pytest.mark.parametrize("route", [route for route in SCOPES if "{" in route])
def test_what_is_another_tenants_does_not_exist(guarded: Guarded, route: str) -> None:
    path = guarded.path(route)
    answer = guarded.ask(path, guarded.stranger)
    assert answer.status_code == 404
    unknown = guarded.ask(path.replace(path.split("/")[2], "nothing_0"), guarded.stranger)
    assert unknown.status_code == 404
    assert _shape(answer) == _shape(unknown)  # nothing tells the two apart
    if "{job_id}" in route:
        job = guarded.ask(f"GET /jobs/{path.split('/')[2]}", guarded.right).json()
        assert (job["cancel_requested"], job["deleted_at"]) == (False, None)


def _shape(answer: httpx.Response) -> Any:
    return answer.content and {name: value for name, value in answer.json().items() if name in ("type", "title")}


def test_public_routes_ask_for_nothing(guarded: Guarded) -> None:
    for route in PUBLIC:
        assert guarded.ask(route.replace("{slug}", "key-missing"), None).status_code == 200, route


def test_lists_show_what_is_ones_own(guarded: Guarded) -> None:
    guarded.post(guarded.right)
    for tenant, key in (("acme", guarded.right), ("other", guarded.stranger)):
        assert len(guarded.ask("GET /jobs", key).json()["jobs"]) == (tenant == "acme")
        models = {model["id"] for model in guarded.ask("GET /models", key).json()["models"]}
        assert ("mdl_acme" in models) == (tenant == "acme")
        assert "base-gray" in models
    refused = guarded.post(guarded.stranger, data={"model": "mdl_acme"})
    assert "There is no model mdl_acme" in problem_of(refused, 422, "invalid-request")["detail"]


def test_a_revoked_key_ends_its_streams(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.http import events

    monkeypatch.setattr(events, "PING_SECONDS", 0.2)
    gateway = guarded.gateway
    key = gateway.services.keys.create("acme")
    headers = {"Authorization": f"Bearer {key}"}
    answer = gateway.http.post("/denoise", files={"image": png()}, headers=headers)
    with gateway.http.stream("GET", f"/jobs/{answer.json()['id']}/events", headers=headers) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("event")
        gateway.services.keys.revoke(key.split("_")[1])
        assert "running" not in "".join(lines)  # it comes to an end though the job does not


def test_an_idempotency_key_is_a_tenants_own(guarded: Guarded) -> None:
    mine, theirs = (
        guarded.post(key, headers={"Idempotency-Key": "scan-1"}) for key in (guarded.right, guarded.stranger)
    )
    assert mine.json()["id"] != theirs.json()["id"]
    assert "idempotency-replayed" not in theirs.headers


def test_the_text_of_a_key_is_in_no_answer(guarded: Guarded) -> None:
    for key in (guarded.right, guarded.stranger, guarded.revoked):
        for route in ("GET /jobs", "GET /metrics", "GET /nowhere"):
            assert key.split("_", 2)[2] not in guarded.ask(route, key).text


def test_a_web_page_by_another_name_needs_the_key_it_does_not_have(guarded: Guarded) -> None:
    there = {"Host": "denoise.example"}  # as a proxy sends it
    problem_of(guarded.ask("GET /jobs", None, headers=there), 401, "key-missing")
    assert guarded.ask("GET /jobs", guarded.right, headers=there).status_code == 200


def test_the_first_key_closes_an_open_gateway(guarded: Guarded, tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        assert gateway.http.get("/jobs").status_code == 200
        gateway.services.keys.create("acme")
        deadline = time.monotonic() + 30
        while gateway.http.get("/jobs").status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        problem_of(gateway.http.get("/jobs"), 401, "key-missing")


def test_the_operator_sees_metrics_while_the_database_is_away(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        headers = {"Authorization": f"Bearer {gateway.services.keys.create('operator', [Scope.ADMIN])}"}
        gateway.wait_until_closed()
        assert "b2s_database_up 1.0" in gateway.http.get("/metrics", headers=headers).text
        gateway.services.engine.dispose()
        for file in tmp_path.glob("b2s.sqlite3*"):
            file.unlink()
        (tmp_path / "b2s.sqlite3").mkdir()
        assert "b2s_database_up 0.0" in gateway.http.get("/metrics", headers=headers).text
        assert gateway.http.get("/jobs", headers=headers).status_code == 503
        other = {"Authorization": f"Bearer {new_key()}"}
        assert gateway.http.get("/metrics", headers=other).status_code == 503


def test_more_requests_than_allowed_are_429(guarded: Guarded) -> None:
    key = guarded.keys.create("busy")
    Tenants(guarded.gateway.services.engine).set_allowance("busy", Allowance(requests_per_minute=2))
    assert [guarded.ask("GET /jobs", key).status_code for _ in range(2)] == [200, 200]
    answer = guarded.ask("GET /jobs", key)
    assert "2 requests a minute" in problem_of(answer, 429, "rate-limited")["detail"]
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert guarded.ask("GET /jobs", guarded.right).status_code == 200  # others are not concerned


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])
    for _ in range(60):
        rates.take("acme", 60)
    with pytest.raises(problems.RateLimited) as refused:
        rates.take("acme", 60)
    assert refused.value.headers == {"Retry-After": "1"}
    now[0] = 1.0
    rates.take("acme", 60)
    with pytest.raises(problems.RateLimited):
        rates.take("acme", 60)
    rates.take("acme", None)
    now[0] = 1e6
    for _ in range(60):  # never more than a minute's worth
        rates.take("acme", 60)
    with pytest.raises(problems.RateLimited):
        rates.take("acme", 60)
    with pytest.raises(problems.RateLimited):
        rates.take("suspended", 0)


def test_a_quota_answers_429_with_the_time_it_resets(guarded: Guarded) -> None:
    key = guarded.keys.create("small")
    Tenants(guarded.gateway.services.engine).set_allowance("small", Allowance(pixels_per_day=100))
    assert guarded.post(key).status_code == 202  # 64 pixels
    kept = {blob.key for blob in guarded.gateway.services.blobs.below("jobs")}
    answer = guarded.post(key)
    document = problem_of(answer, 429, "quota-exceeded")
    assert document["resets_at"].endswith("T00:00:00Z")
    assert 1 <= int(answer.headers["retry-after"]) <= 86400
    assert {blob.key for blob in guarded.gateway.services.blobs.below("jobs")} == kept


def test_unfinished_jobs_are_bounded(guarded: Guarded) -> None:
    key = guarded.keys.create("narrow")
    Tenants(guarded.gateway.services.engine).set_allowance("narrow", Allowance(unfinished_jobs=1))
    job = guarded.post(key).json()
    answer = guarded.post(key)
    assert "1 unfinished jobs" in problem_of(answer, 429, "too-many-jobs")["detail"]
    assert answer.headers["retry-after"]
    guarded.ask(f"POST /jobs/{job['id']}/cancel", key)
    assert guarded.post(key).status_code == 202
