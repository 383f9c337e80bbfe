"""How many bytes a tenant stores: added up from the rows that name them, so that a deleted byte counts no more.

Counted are uploads and results of jobs until they expire, images of datasets, and weights of models. Reports, pictures
and checkpoints are not: they are small, or gone when their job ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from store.errors import StorageFull
from store.job import JobKind
from store.schema import dataset_images, datasets, jobs, models

j = jobs.c


def stored_bytes(tenant: str) -> Select[tuple[Any]]:
    """The query for a tenant's bytes, one row of one number."""
    uploads = case((j.dataset_id.is_(None), _number(j.input["bytes"])), else_=0)  # a dataset's bytes are its own
    results = case((j.kind == JobKind.DENOISE, _number(j.result["bytes"])), else_=0)  # a model's are below
    of_jobs = select(func.sum(uploads + results)).where(j.tenant == tenant, j.purged_at.is_(None))
    images = dataset_images.join(datasets, datasets.c.id == dataset_images.c.dataset_id)
    of_datasets = select(func.sum(dataset_images.c.bytes)).select_from(images).where(datasets.c.tenant == tenant)
    of_models = select(func.sum(models.c.weights_bytes)).where(models.c.tenant == tenant)
    parts = (of_jobs, of_datasets, of_models)
    total: ColumnElement[Any] = sum(
        (func.coalesce(part.scalar_subquery(), 0) for part in parts[1:]), func.coalesce(of_jobs.scalar_subquery(), 0)
    )
    return select(total)


@dataclass(frozen=True, slots=True)
class Room:
    """What a tenant stores, and may; None: no bound."""

    stored: int
    bound: int | None

    @classmethod
    def of(cls, connection: Connection, tenant: str, bound: int | None) -> Room:
        """The room as it is now."""
        return cls(0 if bound is None else int(connection.execute(stored_bytes(tenant)).scalar_one()), bound)

    def require(self, more: int) -> None:
        """Let so many bytes more be stored. Raises StorageFull."""
        if self.bound is not None and self.stored + more > self.bound:
            raise StorageFull(self.stored, more, self.bound)

    def require_counted(self, of_it: int) -> None:
        """As `require`, of bytes that `stored` counts already."""
        Room(self.stored - of_it, self.bound).require(of_it)


def _number(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """A number of a JSON document, 0 where it is missing: rows of other programs of these tables may not have it."""
    return func.coalesce(value.as_numeric(20, 0), 0)
