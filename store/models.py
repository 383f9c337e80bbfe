"""The register of models: base models and fine-tuned ones, immutable, with their cards and the key of their weights."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, bindparam, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError

from store.database import from_now, single
from store.errors import StoreError
from store.job import FINAL
from store.schema import jobs, models

c = models.c
REMEMBER_SECONDS = 1.0

# Built once, since every job costs them (see `store.jobs`).
_BY_ID = select(models).where(c.id == bindparam("by_id"))
_DEFAULT = (
    select(models)
    .where(c.tenant.is_(None), or_(c.channels == 1, c.channels == bindparam("by_channels")))
    .order_by(c.channels.desc(), c.id)
    .limit(1)
)


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
class NewModel:
    """A model that a fine-tune made. Its row appears with the job's success, in one transaction, or not at all."""

    id: str
    name: str
    channels: int
    base_model: str | None
    card: Mapping[str, Any]
    weights_key: str
    weights_bytes: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """A model. `tenant` None: a base model, everybody's; its id is its name (`base-gray`)."""

    id: str
    tenant: str | None
    name: str
    channels: int
    base_model: str | None
    card: Mapping[str, Any]
    weights_key: str
    weights_bytes: int
    sha256: str
    created_at: datetime

    def fits(self, channels: int) -> bool:
        """Whether it can denoise images of so many channels: a gray model takes any number, one by one."""
        return self.channels in (1, channels)


@dataclass(frozen=True)
class ModelPage:
    """Models, newest first, and the cursor of the next page (None: that was all)."""

    models: list[Model]
    next_cursor: str | None


class Models:
    """Reads and registers models. Every call is synchronous and safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._base_models: dict[str | int, tuple[float, Model]] = {}  # by id or channels, with when it was read

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
        """Record a model. The same id and weights again change nothing; a base model's new weights replace its row."""
        values = {
            "id": model_id, "tenant": tenant, "name": name, "channels": channels, "base_model": base_model,
            "card": dict(card), "weights_key": weights_key, "weights_bytes": weights_bytes, "sha256": sha256,
            "created_at": from_now(),
        }  # fmt: skip
        self._base_models.clear()
        try:
            self._replace(values)
        except IntegrityError:  # a process that started together with this one was faster: now its row is there
            self._replace(values)

    def _replace(self, values: Mapping[str, Any]) -> None:
        with self._engine.begin() as connection:
            known = connection.execute(select(c.sha256).where(c.id == values["id"])).scalar_one_or_none()
            if known == values["sha256"]:
                return
            connection.execute(delete(models).where(c.id == values["id"]))
            connection.execute(insert(models).values(values))

    def get(self, model_id: str, tenant: str) -> Model:
        """One model: a base model or one of the tenant's.

        Raises:
            ModelNotFound: there is none, or it is another tenant's.
        """
        model = self._remembered(model_id) or self._read(_BY_ID, {"by_id": model_id}, model_id)
        if model is None or model.tenant not in (None, tenant):
            raise ModelNotFound(model_id)
        return model

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

    def default_for(self, channels: int) -> Model:
        """The base model for images of so many channels: one made for them, else the gray one.

        Raises:
            ModelNotFound: no base model is registered; `store.shipped.register_shipped` does that at start.
        """
        model = self._remembered(channels) or self._read(_DEFAULT, {"by_channels": channels}, channels)
        if model is None:
            raise ModelNotFound("base-gray")
        return model

    def _remembered(self, key: str | int) -> Model | None:
        """A base model that was read a moment ago: every job asks for one, and they change with the program only."""
        read_at, model = self._base_models.get(key, (float("-inf"), None))
        return model if time.monotonic() - read_at < REMEMBER_SECONDS else None

    def _read(self, query: Select[Any], bound: Mapping[str, Any], key: str | int) -> Model | None:
        with single(self._engine) as connection:
            row = connection.execute(query, bound).mappings().one_or_none()
        model = None if row is None else Model(**row)
        if model is not None and model.tenant is None:
            self._base_models[key] = (time.monotonic(), model)
        return model

    def page(self, tenant: str, limit: int = 50, cursor: str | None = None) -> ModelPage:
        """Models a tenant may use, by descending id (fine-tuned newest first, then base). `cursor`: last id before."""
        query = select(models).where(or_(c.tenant.is_(None), c.tenant == tenant)).order_by(c.id.desc()).limit(limit + 1)
        query = query if cursor is None else query.where(c.id < cursor)
        with single(self._engine) as connection:
            page = [Model(**row) for row in connection.execute(query).mappings()]
        return ModelPage(page[:limit], page[limit - 1].id if len(page) > limit else None)


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
