"""The register of models, and the models that ship with the program."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store.models import Model, ModelNotFound
from store.shipped import SHIPPED, register_shipped
from tests.stores import Store


def test_shipped_models_are_registered_once_with_their_bytes(store: Store) -> None:
    ids = register_shipped(store.models, store.blobs)
    assert {"base-gray", "base-rgb"} <= set(ids)
    model = store.models.get("base-gray", tenant="anyone")
    data = (SHIPPED / "base-gray.safetensors").read_bytes()
    assert (model.channels, model.weights_bytes, model.sha256) == (1, len(data), hashlib.sha256(data).hexdigest())
    assert store.blobs.get(model.weights_key) == data
    register_shipped(store.models, store.blobs)
    assert store.models.get("base-gray", tenant="anyone") == model


def test_new_weights_of_a_shipped_model_replace_its_row(store: Store, tmp_path: Path) -> None:
    shipped = (SHIPPED / "base-gray.safetensors").read_bytes()
    (tmp_path / "base-gray.safetensors").write_bytes(shipped)
    register_shipped(store.models, store.blobs, tmp_path)
    before = store.models.get("base-gray", "t")
    (tmp_path / "base-gray.safetensors").write_bytes(shipped[:-1] + bytes([shipped[-1] ^ 1]))
    register_shipped(store.models, store.blobs, tmp_path)
    assert store.models.get("base-gray", "t").sha256 != before.sha256


def test_the_default_fits_the_channels(store: Store) -> None:
    with pytest.raises(ModelNotFound):
        store.models.default_for(3)
    register_shipped(store.models, store.blobs)
    assert [store.models.default_for(channels).id for channels in (1, 2, 3, 5)] == [
        "base-gray", "base-gray", "base-rgb", "base-gray",
    ]  # fmt: skip
    assert store.models.get("base-gray", "t").fits(7)
    assert not store.models.get("base-rgb", "t").fits(1)


def test_a_tenant_sees_the_base_models_and_its_own(store: Store) -> None:
    for model_id, tenant in (("mdl_1", "a"), ("mdl_2", "b"), ("base-gray", None)):
        store.models.register(model_id, model_id, 1, {}, f"models/{model_id}", 3, model_id, tenant)
    assert _ids(store.models.page("a").models) == ["mdl_1", "base-gray"]
    first = store.models.page("a", limit=1)
    assert _ids(store.models.page("a", cursor=first.next_cursor).models) == ["base-gray"]
    with pytest.raises(ModelNotFound):
        store.models.get("mdl_2", "a")


def test_processes_that_start_together_register_the_same_model(store: Store) -> None:
    ready = threading.Barrier(6)

    def register(_: int) -> None:
        ready.wait()
        store.models.register("base-gray", "base-gray", 1, {}, "models/a.safetensors", 1, "a")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(register, range(6)))
    assert store.models.get("base-gray", "any").sha256 == "a"


def _ids(models: list[Model]) -> list[str]:
    return [model.id for model in models]
