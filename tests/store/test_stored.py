"""Bytes that a tenant stores: every kind counted once, gone with what is deleted, and never more than may be."""

from __future__ import annotations

from typing import Any

import pytest

from store.datasets import Datasets
from store.errors import StorageFull
from store.job import JobKind, Outcome
from store.models import NewModel
from store.tenants import Allowance
from store.usage import Usage
from tests.harness.stores import Store

BOUND = Allowance(stored_bytes=100)


def stored(store: Store, tenant: str = "acme") -> int:
    return Usage(store.engine).stored(tenant)


def upload(size: int, **values: Any) -> dict[str, Any]:
    return {"tenant": "acme", "input": {"width": 4, "height": 3, "bytes": size}, **values}


def test_uploads_and_results_count_until_they_expire(store: Store) -> None:
    assert stored(store) == 0
    job = store.running(**upload(30))
    store.queued(**upload(7, tenant="other"))
    store.queued(tenant="acme")  # of a program that did not say how many
    assert stored(store) == 30
    store.jobs.finish(job, Outcome("key", {"bytes": 5_000_000_000}, {}))
    assert stored(store) == 5_000_000_030
    store.jobs.purge(job.id)
    assert (stored(store), stored(store, "other")) == (0, 7)


def test_datasets_and_models_count_once(store: Store) -> None:
    datasets = Datasets(store.engine, store.settings)
    made = datasets.create("acme", None)
    datasets.put_image(made.id, "acme", "a", "k1", 20, 4, "s1")
    datasets.put_image(made.id, "acme", "b", "k2", 3, 4, "s2")
    datasets.put_image(made.id, "acme", "a", "k3", 10, 4, "s3")  # in place of the first
    assert stored(store) == 13
    store.queued(**upload(13, kind=JobKind.FINETUNE, dataset_id=made.id))
    job = store.jobs.claim(JobKind.FINETUNE, "w")
    assert job is not None and stored(store) == 13
    model = NewModel("mdl_" + "0" * 32, "m", 1, None, {}, "models/m", 40, "0" * 64)
    store.jobs.finish(job, Outcome("models/m", {"bytes": 40}, {}, model=model))
    assert stored(store) == 53
    store.models.delete(model.id, "acme")
    datasets.delete(made.id, "acme")
    assert stored(store) == 0


def test_a_bound_takes_what_fits_and_no_byte_more(store: Store) -> None:
    job = store.running(**upload(60, allowance=BOUND))
    with pytest.raises(StorageFull, match="60 bytes, and 41 more would be over the 100"):
        store.queued(**upload(41, allowance=BOUND))
    store.queued(**upload(40, allowance=BOUND))
    store.queued(**upload(100, allowance=BOUND, tenant="other"))
    store.jobs.finish(job, Outcome("key", {"bytes": 50}, {}))  # work that was accepted is not lost for it
    with pytest.raises(StorageFull):
        store.queued(**upload(1, allowance=BOUND))
    store.jobs.purge(job.id)
    store.queued(**upload(60, allowance=BOUND))


def test_a_repetition_is_not_refused(store: Store) -> None:
    values = upload(60, allowance=BOUND, idempotency_key="k", body_hash="a")
    first = store.queued(**values)
    assert store.queued(**values).id == first.id


def test_a_dataset_is_bounded_with_everything_else(store: Store) -> None:
    datasets = Datasets(store.engine, store.settings)
    made = datasets.create("acme", None)
    store.queued(**upload(60))
    datasets.put_image(made.id, "acme", "a", "k1", 30, 4, "s1", 100)
    with pytest.raises(StorageFull):
        datasets.put_image(made.id, "acme", "b", "k2", 11, 4, "s2", 100)
    assert [image.name for image in datasets.images(made.id)] == ["a"]
    datasets.put_image(made.id, "acme", "a", "k3", 40, 4, "s3", 100)  # the one that it replaces makes room
    store.queued(**upload(100, kind=JobKind.FINETUNE, dataset_id=made.id, allowance=BOUND))  # stores nothing anew
