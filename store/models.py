"""The register of models: base models and fine-tuned ones, immutable, with their cards and the key of their weights."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, and_, bindparam, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError

from store.bases import Quality, base_for, scene_of
from store.database import from_now, single
from store.errors import StoreError
from store.ids import is_id
from store.job import FINAL
from store.model import Model, NewModel
from store.schema import jobs, models

c = models.c
REMEMBER_SECONDS = 1.0
VERSION_DIGITS = 12

VERSION = re.compile(r"(?P<name>[^@]+)@(?P<prefix>[0-9a-f]{6,64})")
"""A base model with weights of its own, as in base-rgb@0a1b2c3d4e5f: its name, and how their SHA-256 begins."""

# Built once, since every job costs them (see `store.jobs`).
_BY_ID = select(models).where(c.id == bindparam("by_id"))
_BASES = select(models).where(c.tenant.is_(None), c.id.not_like("%@%"))


class ModelNotFound(StoreError):
    """No model with this id belongs to the tenant."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"There is no model {model_id}.")
        self.model_id = model_id


class ModelInUse(StoreError):
    """A job that has not ended works with the model."""

    def __init__(self, model_id: str, job_id: str) -> None:
        super().__init__(f"Job {job_id} uses model {model_id} and has not ended; cancel it first, or wait.")
        self.job_id = job_id


class ModelIsShipped(StoreError):
    """A base model belongs to the program."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"{model_id} ships with the program and is everybody's; only fine-tuned models are deleted.")


@dataclass(frozen=True)
class ModelPage:
    """Models, newest first, and the cursor of the next page (None: that was all)."""

    models: list[Model]
    next_cursor: str | None


class Models:
    """Reads and registers models. Every call is synchronous and safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bases: Mapping[str, Model] = {}
        self._bases_read_at = float("-inf")

    def register(
        self,
        model_id: str,
        name: str,
        channels: int,
        card: Mapping[str, Any],
        weights_key: str,
        weights_bytes: int,
        sha256: str,
        tenant: str | None = None,
        base_model: str | None = None,
    ) -> None:
        """Record a model. The same id and weights again change nothing.

        New weights of a base model take its name over; those before stay under `name@…` (see `VERSION`).
        """
        values = {
            "id": model_id, "tenant": tenant, "name": name, "channels": channels, "base_model": base_model,
            "card": dict(card), "weights_key": weights_key, "weights_bytes": weights_bytes, "sha256": sha256,
            "created_at": from_now(),
        }  # fmt: skip
        self._bases_read_at = float("-inf")
        try:
            self._replace(values)
        except IntegrityError:  # a process that started together with this one was faster: now its row is there
            self._replace(values)

    def _replace(self, values: Mapping[str, Any]) -> None:
        with self._engine.begin() as connection:
            row = connection.execute(_BY_ID, {"by_id": values["id"]}).mappings().one_or_none()
            known = None if row is None else dict(row)
            if values["tenant"] is None:
                _keep_version(connection, known)
                _keep_version(connection, values)
            if known is not None and known["sha256"] == values["sha256"]:
                return
            connection.execute(delete(models).where(c.id == values["id"]))
            connection.execute(insert(models).values(values))

    def get(self, model_id: str, tenant: str) -> Model:
        """One model: a base model, also by a version of it (see `VERSION`), or one of the tenant's.

        Raises:
            ModelNotFound: there is none, or it is another tenant's.
        """
        model = None if is_id("mdl", model_id) else self.bases().get(model_id)
        version = VERSION.fullmatch(model_id)
        if model is None:
            model = self._version(version["name"], version["prefix"]) if version else self._one(model_id)
        if model is None or model.tenant not in (None, tenant):
            raise ModelNotFound(model_id)
        return model

    def pinned(self, name: str, sha256: str) -> Model:
        """A base model with just these weights, under its name. Raises ModelNotFound."""
        model = self.bases().get(name)
        if model is None or model.sha256 != sha256:
            model = self._version(name, sha256)
        if model is None:
            raise ModelNotFound(f"{name}@{sha256}")
        return replace(model, id=name)

    def bases(self) -> Mapping[str, Model]:
        """The base models by name: read at most once a second; every job asks, and they change with the program."""
        if time.monotonic() - self._bases_read_at > REMEMBER_SECONDS:
            with single(self._engine) as connection:
                found = [Model(**row) for row in connection.execute(_BASES).mappings()]
            self._bases, self._bases_read_at = {model.id: model for model in found}, time.monotonic()
        return self._bases

    def delete(self, model_id: str, tenant: str) -> Model:
        """Forget a fine-tuned model and return what it was; its weights are deleted after that.

        Raises:
            ModelNotFound, ModelIsShipped, ModelInUse: it is still there.
        """
        model = self.get(model_id, tenant)
        if model.tenant is None:
            raise ModelIsShipped(model_id)
        with self._engine.begin() as connection:
            take(connection, model_id, tenant)
            unfinished = select(jobs.c.id).where(jobs.c.model == model_id, jobs.c.state.not_in(FINAL)).limit(1)
            job_id = connection.execute(unfinished).scalar()
            if job_id is not None:
                raise ModelInUse(model_id, job_id)
            connection.execute(delete(models).where(c.id == model_id))
        return model

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the blob keys that some model names; others are orphans."""
        with single(self._engine) as connection:
            return set(connection.execute(select(c.weights_key).where(c.weights_key.in_(keys))).scalars())

    def default_for(self, channels: int, quality: Quality = Quality.FAST) -> Model:
        """The base model for images of so many channels, as `store.bases` has it.

        Raises:
            ModelNotFound: no base model is registered; `store.shipped.register_shipped` does that at start.
        """
        there = self.bases()
        name = base_for(quality, scene_of(channels), there)
        if name is None:
            raise ModelNotFound("base-gray")
        return there[name]

    def _one(self, model_id: str) -> Model | None:
        with single(self._engine) as connection:
            row = connection.execute(_BY_ID, {"by_id": model_id}).mappings().one_or_none()
        return None if row is None else Model(**row)

    def _version(self, name: str, prefix: str) -> Model | None:
        """The base model of that name whose SHA-256 begins so; None: there is none, or there are several."""
        named = or_(c.id == name, c.id.startswith(f"{name}@", autoescape=True))
        query = select(models).where(c.tenant.is_(None), named, c.sha256.startswith(prefix, autoescape=True))
        with single(self._engine) as connection:
            found = {row["sha256"]: Model(**row) for row in connection.execute(query.order_by(c.id)).mappings()}
        return next(iter(found.values())) if len(found) == 1 else None

    def page(self, tenant: str, limit: int = 50, cursor: str | None = None) -> ModelPage:
        """Models a tenant may use, by descending id (fine-tuned newest first, then base). `cursor`: last id before."""
        usable = or_(and_(c.tenant.is_(None), c.id.not_like("%@%")), c.tenant == tenant)
        query = select(models).where(usable).order_by(c.id.desc()).limit(limit + 1)
        query = query if cursor is None else query.where(c.id < cursor)
        with single(self._engine) as connection:
            page = [Model(**row) for row in connection.execute(query).mappings()]
        return ModelPage(page[:limit], page[limit - 1].id if len(page) > limit else None)


def _keep_version(connection: Connection, base: Mapping[str, Any] | None) -> None:
    """Enter a base model's weights under `name@…` as well, where they stay when others take the name over."""
    if base is None:
        return
    version = f"{base['id']}@{base['sha256'][:VERSION_DIGITS]}"
    if connection.execute(_BY_ID, {"by_id": version}).first() is None:
        connection.execute(insert(models).values(dict(base) | {"id": version}))


def publish(connection: Connection, new: NewModel, tenant: str) -> None:
    """Enter a fine-tuned model, in the transaction in which its job succeeds."""
    values = {name: getattr(new, name) for name in NewModel.__dataclass_fields__}
    connection.execute(
        insert(models).values(values | {"tenant": tenant, "card": dict(new.card), "created_at": from_now()})
    )


def take(connection: Connection, model_id: str, tenant: str) -> None:
    """Keep a fine-tuned model from being deleted until this transaction ends; a job made in it keeps it from then on.

    Raises:
        ModelNotFound: it was deleted before.
    """
    found = select(c.id).where(c.id == model_id, c.tenant == tenant).with_for_update()
    if connection.execute(found).first() is None:
        raise ModelNotFound(model_id)
