"""The files of batches: one row each, written by the attempt that holds the job's lease.

A batch is one denoise job. Its worker takes file after file and commits each as it is done, so that another attempt
goes on behind the last one. A strike is a death at one file: the first that is not done yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from store import job_statements as sql
from store.database import from_now, single
from store.job import Job, JobError, JobFile, JobKind, JobState, Progress, Signal
from store.job_changes import advance
from store.job_queries import Columns, due
from store.schema import job_files, jobs, tenants
from store.settings import Settings
from store.stored import Room

c = job_files.c
_ROWS_A_STATEMENT = 500
_QUEUED = c.state == JobState.QUEUED


def enter(connection: Connection, job_id: str, files: Sequence[JobFile]) -> None:
    """Write the files of a new batch."""
    for start in range(0, len(files), _ROWS_A_STATEMENT):
        connection.execute(insert(job_files), [_row(job_id, file) for file in files[start : start + _ROWS_A_STATEMENT]])


def forget(connection: Connection, job_id: str) -> None:
    """Drop the files of a batch whose bytes go."""
    connection.execute(delete(job_files).where(c.job_id == job_id))


def give_up(connection: Connection, job_id: str, error: JobError) -> bool:
    """Fail the first file that is not done, at which attempt after attempt ended; False: all are done."""
    first = select(func.min(c.number)).where(c.job_id == job_id, _QUEUED).scalar_subquery()
    failed = update(job_files).where(c.job_id == job_id, c.number == first)
    return connection.execute(failed.values(state=JobState.FAILED, **sql.error_values(error))).rowcount > 0


def turn_behind(job: Job) -> ColumnElement[Any]:
    """A turn for a batch behind the first of those for which it gives way: they take turns, file for job."""
    waiting = jobs.alias("waiting").c
    first = select(func.min(waiting.turn)).where(*_others(waiting, job)).scalar_subquery()
    return func.coalesce(first, jobs.c.turn) + 1


class JobFiles:
    """Reads the files of batches, and writes them for the attempt that holds the lease. Safe from any thread."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    # ---- the gateway's side -------------------------------------------------------------------------------------

    def page(self, job_id: str, first: int = 0, limit: int | None = None, name: str | None = None) -> list[JobFile]:
        """Files from number `first` on, in order; of one name only if it is given."""
        query = select(job_files).where(c.job_id == job_id, c.number >= first).order_by(c.number).limit(limit)
        query = query if name is None else query.where(c.name == name)
        with single(self._engine) as connection:
            return [_file(row) for row in connection.execute(query).mappings()]

    # ---- the worker's side --------------------------------------------------------------------------------------

    def others_wait(self, job: Job) -> bool:
        """Whether a batch should give way: a job of another tenant could be claimed, or one that is no batch."""
        with single(self._engine) as connection:
            bound = {"of_tenant": job.tenant}
            return connection.execute(_OTHERS[job.kind], bound).first() is not None

    def unpack(self, job: Job, files: Sequence[JobFile], size: int) -> Signal:
        """Put what the archives of a batch hold in their place, before the first file is done.

        Args:
            size: bytes of all files.

        Raises:
            StorageFull: they are more than the tenant may store.
        """
        with self._engine.begin() as connection:
            values = {"files": len(files), "input": dict(job.input) | {"files": len(files), "bytes": size}}
            changed = sql.change_of(sql.held(job.id, job.attempt), values)
            bound = connection.execute(select(tenants.c.stored_bytes).where(tenants.c.name == job.tenant)).scalar()
            room, more = Room.of(connection, job.tenant, bound), size - int(job.input.get("bytes", 0))
            if more > 0:
                room.require(more)
            held = advance(connection, changed, event="progress")
            if held is not None:
                forget(connection, job.id)
                enter(connection, job.id, files)
            return sql.signal_of(None if held is None else held.cancel_requested)

    def end(
        self, job: Job, file: JobFile, progress: Progress, result: dict[str, Any], timings: dict[str, float]
    ) -> Signal:
        """Commit what became of a file, with the job's progress and sums, and forgive strikes. LOST: nothing counts.

        Args:
            file: as it is now, with its end.
            result, timings: of the job so far.
        """
        told = {"progress": progress.to_dict(), "result": result, "timings": timings}
        with self._engine.begin() as connection:
            held = advance(connection, self._progress, {**sql.bound_to(job), **told}, event="progress")
            if held is not None:
                connection.execute(_END, {"of_job": job.id, "of_number": file.number, **_end(file)})
            return sql.signal_of(None if held is None else held.cancel_requested)

    @cached_property
    def _progress(self) -> sql.Change:
        """How a batch that is held moves on; as `job_statements` says, built once."""
        return sql.change_of(sql.HELD, {"lease_until": from_now(self._settings.lease_seconds), "strikes": 0})


_END = update(job_files).where(c.job_id == bindparam("of_job"), c.number == bindparam("of_number"), _QUEUED)


def numbered(files: Iterable[JobFile]) -> list[JobFile]:
    """The files with their places in the order in which they come."""
    return [replace(file, number=number) for number, file in enumerate(files)]


def _others(columns: Columns, job: Job) -> list[ColumnElement[bool]]:
    return _others_than(columns, job.kind, job.tenant)


def _others_than(columns: Columns, kind: JobKind, tenant: Any) -> list[ColumnElement[bool]]:
    return [*due(columns, kind), or_(columns.tenant != tenant, columns.files.is_(None))]


_OTHERS = {
    kind: select(jobs.c.id).where(*_others_than(jobs.c, kind, bindparam("of_tenant"))).limit(1) for kind in JobKind
}


def _row(job_id: str, file: JobFile) -> dict[str, Any]:
    about = {name: getattr(file, name) for name in ("number", "name", "key", "bytes", "pixels", "archive")}
    return {"job_id": job_id, **about, **_end(file)}


def _end(file: JobFile) -> dict[str, Any]:
    error = file.error
    return {
        "state": file.state,
        "result_key": file.result_key,
        "report_key": file.report_key,
        "result": None if file.result is None else dict(file.result),
        "error_code": error and error.code,
        "error_detail": error and error.detail,
    }


def _file(row: RowMapping) -> JobFile:
    error = JobError(row["error_code"], row["error_detail"]) if row["error_code"] else None
    values = {name: row[name] for name in JobFile.__dataclass_fields__ if name != "error"}
    return JobFile(**(values | {"state": JobState(row["state"])}), error=error)
