"""The register of models, and the models that ship with the program."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import delete

from store.model import Model
from store.models import ModelIsShipped, ModelNotFound
from store.schema import models
from store.shipped import SHIPPED, register_shipped
from tests.harness.stores import Store


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


def test_earlier_weights_stay_under_the_checksum(store: Store) -> None:
    def registered(sha256: str) -> None:
        store.models.register("base-rgb", "base-rgb", 3, {}, f"models/{sha256}", 3, sha256)

    old, new = "0a1b2c" + "3" * 58, "0a1b2c" + "4" * 58
    registered(old)
    registered(new)
    assert store.models.get("base-rgb", "t").sha256 == new
    assert store.models.get(f"base-rgb@{old[:12]}", "t").sha256 == old
    assert store.models.get(f"base-rgb@{new}", "t").weights_key == f"models/{new}"
    pinned = store.models.pinned("base-rgb", old)
    assert (pinned.id, pinned.sha256) == ("base-rgb", old)
    assert store.models.known_keys([f"models/{old}", f"models/{new}"]) == {f"models/{old}", f"models/{new}"}
    registered(old)  # a process of before the update starts again
    assert store.models.pinned("base-rgb", new).sha256 == new
    assert _ids(store.models.page("t").models) == ["base-rgb"]
    with pytest.raises(ModelIsShipped):
        store.models.delete(f"base-rgb@{old[:12]}", "t")


@pytest.mark.parametrize(
    "model_id",
    ["base-rgb@0a1b2c", "base-rgb@ffffff", "base-gray@0a1b2c3", "base-rgb@0a1b2", "base%@0a1b2c3", "@", "x@y"],
)
def test_a_version_that_is_unknown_or_not_one(store: Store, model_id: str) -> None:
    for sha256 in ("0a1b2c" + "3" * 58, "0a1b2c" + "4" * 58):
        store.models.register("base-rgb", "base-rgb", 3, {}, f"models/{sha256}", 3, sha256)
    with pytest.raises(ModelNotFound):
        store.models.get(model_id, "t")


def test_weights_from_before_versions_stay_too(store: Store) -> None:
    """The row of an older program has no version beside it until other weights take its name."""
    store.models.register("base-gray", "base-gray", 1, {}, "models/old", 3, "a" * 64)
    with store.engine.begin() as connection:
        connection.execute(delete(models).where(models.c.id.like("%@%")))
    assert store.models.get("base-gray@aaaaaa", "t").sha256 == "a" * 64
    store.models.register("base-gray", "base-gray", 1, {}, "models/new", 3, "b" * 64)
    assert store.models.get("base-gray@aaaaaa", "t").sha256 == "a" * 64


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
