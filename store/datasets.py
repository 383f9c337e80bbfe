"""The register of datasets: named sets of images that a fine-tune learns from, filled one image at a time.

Every upload has a blob key of its own, which its row then names: bytes that somebody reads are never written again, and
a key that no row names can be deleted by whoever finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, delete, func, insert, select, update

from store.database import from_now, single
from store.errors import StoreError
from store.ids import new_id
from store.job import FINAL
from store.schema import dataset_images, datasets, jobs
from store.settings import Settings
from store.stored import Room

c = datasets.c
i = dataset_images.c


class DatasetNotFound(StoreError):
    """No dataset with this id belongs to the tenant."""

    def __init__(self, dataset_id: str) -> None:
        super().__init__(f"There is no dataset {dataset_id}.")
        self.dataset_id = dataset_id


class ImageNotFound(StoreError):
    """The dataset has no image of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The dataset has no image {name!r}.")


class DatasetInUse(StoreError):
    """A job that has not ended learns from the dataset."""

    def __init__(self, dataset_id: str, job_id: str) -> None:
        super().__init__(f"Job {job_id} uses dataset {dataset_id} and has not ended; cancel it first, or wait.")
        self.job_id = job_id


class DatasetFull(StoreError):
    """One more image would break a bound; the message names the setting."""


@dataclass(frozen=True)
class Dataset:
    """A dataset, with what is in it. It expires unless it is used: an image or a job moves `expires_at` on."""

    id: str
    tenant: str
    name: str | None
    images: int
    bytes: int
    pixels: int
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class DatasetImage:
    """One image of a dataset. `pixels` is what its header says, 0 for an archive."""

    name: str
    key: str
    bytes: int
    pixels: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True)
class DatasetPage:
    """Datasets, newest first, and the cursor of the next page (None: that was all)."""

    datasets: list[Dataset]
    next_cursor: str | None


class Datasets:
    """Reads and changes datasets. Every call is synchronous and safe from any thread."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def create(self, tenant: str, name: str | None) -> Dataset:
        """A new, empty dataset."""
        dataset_id = new_id("set")
        values = {"id": dataset_id, "tenant": tenant, "name": name, "created_at": from_now(), "used_at": from_now()}
        with self._engine.begin() as connection:
            connection.execute(insert(datasets).values(values))
        return self.get(dataset_id, tenant)

    def get(self, dataset_id: str, tenant: str) -> Dataset:
        """One dataset.

        Raises:
            DatasetNotFound: there is none, or it is another tenant's.
        """
        with single(self._engine) as connection:
            row = connection.execute(_filled().where(*_of(dataset_id, tenant))).one_or_none()
        if row is None:
            raise DatasetNotFound(dataset_id)
        return self._dataset(row)

    def page(self, tenant: str, name: str | None = None, limit: int = 50, cursor: str | None = None) -> DatasetPage:
        """Datasets of a tenant, newest first; those of one name when that is given. `cursor`: last id before."""
        query = _filled().where(c.tenant == tenant).order_by(c.id.desc()).limit(limit + 1)
        query = query if name is None else query.where(c.name == name)
        query = query if cursor is None else query.where(c.id < cursor)
        with single(self._engine) as connection:
            page = [self._dataset(row) for row in connection.execute(query)]
        return DatasetPage(page[:limit], page[limit - 1].id if len(page) > limit else None)

    def images(self, dataset_id: str, limit: int = 1000, after: str | None = None) -> list[DatasetImage]:
        """Images by name, those behind `after`; read on until fewer than `limit` come."""
        query = select(dataset_images).where(i.dataset_id == dataset_id).order_by(i.name).limit(limit)
        query = query if after is None else query.where(i.name > after)
        with single(self._engine) as connection:
            return [_image(row) for row in connection.execute(query)]

    def image(self, dataset_id: str, name: str) -> DatasetImage:
        """One image. Raises ImageNotFound."""
        query = select(dataset_images).where(i.dataset_id == dataset_id, i.name == name)
        with single(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise ImageNotFound(name)
        return _image(row)

    def put_image(
        self,
        dataset_id: str,
        tenant: str,
        name: str,
        key: str,
        size: int,
        pixels: int,
        sha256: str,
        stored_bytes: int | None = None,
    ) -> str | None:
        """Enter an image whose bytes are stored; one of the same name is replaced, unless a job may still read it.

        Returns:
            The key that nobody names now, to be deleted: of what was replaced, or `key` if the same bytes were there.

        Raises:
            DatasetNotFound, DatasetInUse, DatasetFull: nothing was entered.
            StorageFull: the tenant would store more than `stored_bytes`.
        """
        with self._engine.begin() as connection:
            _lock(connection, dataset_id, tenant)
            known = connection.execute(
                select(i.sha256, i.key).where(i.dataset_id == dataset_id, i.name == name)
            ).first()
            if known is not None and known.sha256 == sha256:
                return key
            if known is not None:
                _require_unused(connection, dataset_id)
            connection.execute(delete(dataset_images).where(i.dataset_id == dataset_id, i.name == name))
            self._require_room(connection, dataset_id, size)
            Room.of(connection, tenant, stored_bytes).require(size)
            values = {"dataset_id": dataset_id, "name": name, "key": key, "bytes": size, "pixels": pixels}
            connection.execute(insert(dataset_images).values(**values, sha256=sha256, created_at=from_now()))
            connection.execute(update(datasets).where(c.id == dataset_id).values(used_at=from_now()))
        return None if known is None else str(known.key)

    def delete_image(self, dataset_id: str, tenant: str, name: str) -> str:
        """Take an image out; the key of its bytes, to be deleted.

        Raises:
            DatasetNotFound, ImageNotFound, DatasetInUse: nothing was taken out.
        """
        with self._engine.begin() as connection:
            _lock(connection, dataset_id, tenant)
            _require_unused(connection, dataset_id)
            gone = delete(dataset_images).where(i.dataset_id == dataset_id, i.name == name).returning(i.key)
            key = connection.execute(gone).scalar()
        if key is None:
            raise ImageNotFound(name)
        return str(key)

    def delete(self, dataset_id: str, tenant: str) -> None:
        """Forget a dataset; call it before deleting its blobs.

        Raises:
            DatasetNotFound, DatasetInUse: it is still there.
        """
        with self._engine.begin() as connection:
            _lock(connection, dataset_id, tenant)
            _require_unused(connection, dataset_id)
            connection.execute(delete(dataset_images).where(i.dataset_id == dataset_id))
            connection.execute(delete(datasets).where(c.id == dataset_id))

    def expired(self, limit: int = 100) -> list[tuple[str, str]]:
        """(id, tenant) of datasets that nobody used for B2S_DATASET_DAYS."""
        unused = c.used_at < from_now(-86400 * self._settings.dataset_days)
        with single(self._engine) as connection:
            return [(row[0], row[1]) for row in connection.execute(select(c.id, c.tenant).where(unused).limit(limit))]

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the blob keys that some dataset names; others are orphans."""
        with single(self._engine) as connection:
            return set(connection.execute(select(i.key).where(i.key.in_(keys))).scalars())

    def _require_room(self, connection: Connection, dataset_id: str, size: int) -> None:
        count, total = connection.execute(
            select(func.count(), func.coalesce(func.sum(i.bytes), 0)).where(i.dataset_id == dataset_id)
        ).one()
        if count >= self._settings.max_set_images:
            raise DatasetFull(f"The dataset has {count:,} images, as many as B2S_MAX_SET_IMAGES allows.")
        if total + size > self._settings.max_set_bytes:
            raise DatasetFull(
                f"With this image the dataset would have {int(total) + size:,} bytes; B2S_MAX_SET_BYTES allows "
                f"{self._settings.max_set_bytes:,}."
            )

    def _dataset(self, row: Row[Any]) -> Dataset:
        expires_at = row.used_at + timedelta(days=self._settings.dataset_days)
        return Dataset(
            row.id, row.tenant, row.name, row.images, int(row.bytes), int(row.pixels), row.created_at, expires_at
        )


def take(connection: Connection, dataset_id: str, tenant: str) -> None:
    """Mark a dataset as used, in the transaction that makes the job: it is there until that job has ended.

    Raises:
        DatasetNotFound: it was deleted before.
    """
    _lock(connection, dataset_id, tenant)
    connection.execute(update(datasets).where(c.id == dataset_id).values(used_at=from_now()))


def _lock(connection: Connection, dataset_id: str, tenant: str) -> None:
    """Let one change at a time at a dataset (PostgreSQL; SQLite has one writer anyway)."""
    if connection.execute(select(c.id).where(*_of(dataset_id, tenant)).with_for_update()).first() is None:
        raise DatasetNotFound(dataset_id)


def _require_unused(connection: Connection, dataset_id: str) -> None:
    unfinished = select(jobs.c.id).where(jobs.c.dataset_id == dataset_id, jobs.c.state.not_in(FINAL)).limit(1)
    job_id = connection.execute(unfinished).scalar()
    if job_id is not None:
        raise DatasetInUse(dataset_id, job_id)


def _of(dataset_id: str, tenant: str) -> list[ColumnElement[bool]]:
    return [c.id == dataset_id, c.tenant == tenant]


def _filled() -> Select[Any]:
    """Datasets with the number and size of their images."""
    held = [
        select(value).where(i.dataset_id == c.id).correlate(datasets).scalar_subquery().label(label)
        for label, value in (
            ("images", func.count()),
            ("bytes", func.coalesce(func.sum(i.bytes), 0)),
            ("pixels", func.coalesce(func.sum(i.pixels), 0)),
        )
    ]
    return select(datasets, *held)


def _image(row: Row[Any]) -> DatasetImage:
    return DatasetImage(row.name, row.key, row.bytes, row.pixels, row.sha256, row.created_at)
