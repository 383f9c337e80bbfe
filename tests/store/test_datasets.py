"""Datasets and models under the jobs that use them."""

from __future__ import annotations

import pytest

from store.datasets import DatasetFull, DatasetInUse, DatasetNotFound, Datasets, ImageNotFound
from store.ids import new_id
from store.job import JobState, Outcome
from store.model import NewModel
from store.models import ModelInUse, ModelIsShipped, ModelNotFound
from store.shipped import register_shipped
from tests.harness.stores import Store, new_job


@pytest.fixture
def datasets(store: Store) -> Datasets:
    return Datasets(store.engine, store.settings.model_copy(update={"max_set_images": 3, "max_set_bytes": 100}))


def new_model(model_id: str) -> NewModel:
    return NewModel(model_id, "mine", 1, "base-gray", {"promoted": True}, f"models/{model_id}.safetensors", 3, "1" * 64)


def test_images_are_put_replaced_and_counted(datasets: Datasets) -> None:
    made = datasets.create("t", "20x")
    put = [
        datasets.put_image(made.id, "t", "a", key, 10, 4, sha) for key, sha in (("k1", "s"), ("k2", "s"), ("k3", "z"))
    ]
    assert put == [None, "k2", "k1"]  # the key that nobody names now
    datasets.put_image(made.id, "t", "b", "k4", 20, 6, "s")
    found = datasets.get(made.id, "t")
    assert (found.images, found.bytes, found.pixels) == (2, 30, 10)
    assert [image.name for image in datasets.images(made.id, after="a")] == ["b"]
    assert datasets.delete_image(made.id, "t", "b") == "k4"
    with pytest.raises(ImageNotFound):
        datasets.delete_image(made.id, "t", "b")


def test_bounds(datasets: Datasets) -> None:
    made = datasets.create("t", None)
    with pytest.raises(DatasetFull, match="B2S_MAX_SET_BYTES"):
        datasets.put_image(made.id, "t", "a", "k", 101, 1, "s")
    for name in "abc":
        datasets.put_image(made.id, "t", name, f"k{name}", 1, 1, name)
    with pytest.raises(DatasetFull, match="B2S_MAX_SET_IMAGES"):
        datasets.put_image(made.id, "t", "d", "kd", 1, 1, "d")
    datasets.put_image(made.id, "t", "a", "other", 2, 1, "x")  # a replacement needs no place


def test_a_dataset_stays_as_it_is_while_a_job_uses_it(store: Store, datasets: Datasets) -> None:
    made = datasets.create("default", None)
    datasets.put_image(made.id, "default", "a", "k", 1, 1, "s")
    job = store.queued(dataset_id=made.id)
    for refused in (
        lambda: datasets.delete(made.id, "default"),
        lambda: datasets.delete_image(made.id, "default", "a"),
        lambda: datasets.put_image(made.id, "default", "a", "k2", 1, 1, "other"),
    ):
        with pytest.raises(DatasetInUse, match=job.id):
            refused()
    datasets.put_image(made.id, "default", "b", "k3", 1, 1, "new")
    store.jobs.request_cancel(job.id)
    datasets.delete(made.id, "default")
    with pytest.raises(DatasetNotFound):
        store.jobs.create(new_job(dataset_id=made.id))


def test_another_tenant_has_nothing(store: Store, datasets: Datasets) -> None:
    made = datasets.create("a", None)
    for refused in (
        lambda: datasets.get(made.id, "b"),
        lambda: datasets.delete(made.id, "b"),
        lambda: datasets.put_image(made.id, "b", "x", "k", 1, 1, "s"),
        lambda: store.jobs.create(new_job(tenant="b", dataset_id=made.id)),
    ):
        with pytest.raises(DatasetNotFound):
            refused()
    assert datasets.page("b").datasets == []


def test_a_model_appears_with_its_job_s_success_or_not_at_all(store: Store) -> None:
    for cancel in (False, True):
        model, job = new_model(new_id("mdl")), store.running()
        if cancel:
            store.jobs.request_cancel(job.id)
        ended = store.jobs.finish(job, Outcome(model.weights_key, {}, {}, model=model))
        assert ended is not None and ended.state is (JobState.CANCELED if cancel else JobState.SUCCEEDED)
        if cancel:
            with pytest.raises(ModelNotFound):
                store.models.get(model.id, job.tenant)
        else:
            assert store.models.get(model.id, job.tenant).base_model == "base-gray"
            assert store.models.known_keys([model.weights_key, "models/none"]) == {model.weights_key}


def test_a_model_is_deleted_only_when_no_job_uses_it(store: Store) -> None:
    register_shipped(store.models, store.blobs)
    model, job = new_model(new_id("mdl")), store.running()
    store.jobs.finish(job, Outcome(model.weights_key, {}, {}, model=model))
    using = store.queued(model=model.id)
    with pytest.raises(ModelInUse, match=using.id):
        store.models.delete(model.id, "default")
    store.jobs.request_cancel(using.id)
    with pytest.raises(ModelNotFound):
        store.models.delete(model.id, "other")
    assert store.models.delete(model.id, "default").weights_key == model.weights_key
    with pytest.raises(ModelNotFound):
        store.jobs.create(new_job(model=model.id))
    with pytest.raises(ModelIsShipped):
        store.models.delete("base-gray", "default")
