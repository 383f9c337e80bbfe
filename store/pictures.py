"""Pictures of finished jobs, drawn by a worker when they are first asked for and kept until their job's bytes go.

A picture is no job: it changes none, costs no quota, and one that is lost is drawn again when it is asked for again.

    ask ─► waiting ─claim─► drawn at by a worker ─finish──► drawn: its bytes lie under `key`
             ▲                          ├───refuse──► refused: `error` says why
             └──────release, time over──┘

The row lets one worker draw, however many ask at once; where a slow one was taken for dead, who is first counts. Each
tenant has a bound on pictures that wait, and one on the bytes of those that are kept: the oldest make room.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from store.database import from_now, single
from store.errors import JobNotFound, TooManyPictures
from store.job import Job, JobError
from store.schema import jobs, pictures
from store.settings import Settings

c = pictures.c

MAX_ATTEMPTS = 3
"""Workers that a picture may cost before it is refused."""

WANTED_WAITS = 2
"""A picture that nobody has asked for in so many times B2S_PICTURE_SECONDS is not drawn any more."""

ROW_BYTES = 4096
"""What each row counts for among the bytes that are kept, beside its picture's: refused ones make room, too."""

RETRY_SECONDS = 2

KILLED = JobError("picture_died", "Every worker that tried to draw this picture died; ask for a smaller one.")


@dataclass(frozen=True)
class Picture:
    """One picture, as its row was when it was read.

    Attributes:
        id: the job's and a digest of `what`.
        what: what is drawn, as the worker reads it.
        key, bytes, sha256: where it lies once it is drawn, how long it is, and what its bytes hash to.
        error: why it cannot be drawn.
        new: whether it has just been asked for the first time.
    """

    id: str
    job_id: str
    tenant: str
    what: dict[str, Any]
    attempt: int
    key: str | None
    bytes: int | None
    sha256: str | None
    error: JobError | None
    ended: bool
    new: bool = False

    @classmethod
    def from_row(cls, row: RowMapping, new: bool = False) -> Picture:
        error = JobError(row["error_code"], row["error_detail"]) if row["error_code"] else None
        named = {name: row[name] for name in ("id", "job_id", "tenant", "what", "attempt", "key", "bytes", "sha256")}
        return cls(**named, error=error, ended=row["ended_at"] is not None, new=new)


def picture_id(job_id: str, what: Mapping[str, Any]) -> str:
    """The id of a picture: the same for everybody who asks for the same."""
    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return f"{job_id}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Pictures:
    """Reads and changes pictures, from any thread; no call leaves a transaction open."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._wanted = [c.ended_at.is_(None), c.asked_at > from_now(-WANTED_WAITS * settings.picture_seconds)]

    # ---- the gateway's side -------------------------------------------------------------------------------------

    def ask(self, job: Job, what: Mapping[str, Any]) -> Picture:
        """The picture, as far as it is; one that is not drawn yet now waits for a worker, who has to be rung for.

        Raises:
            TooManyPictures: B2S_MAX_PICTURES_PER_TENANT of the tenant wait already.
            JobNotFound: the job's bytes were deleted meanwhile.
        """
        asked = picture_id(job.id, what)
        found = self.get(asked)
        if found is not None and found.ended:
            return found
        try:
            with self._engine.begin() as connection:
                return self._again(connection, asked) or self._first(connection, asked, job, what)
        except IntegrityError:  # somebody else asked at the same moment
            with self._engine.begin() as connection:
                again = self._again(connection, asked)
            if again is None:
                raise JobNotFound(job.id) from None
            return again

    def get(self, asked: str) -> Picture | None:
        """One picture by its id."""
        with single(self._engine) as connection:
            row = connection.execute(select(pictures).where(c.id == asked)).mappings().one_or_none()
        return None if row is None else Picture.from_row(row)

    def forget(self, picture: Picture) -> None:
        """Its bytes are gone: whoever asks next has it drawn again."""
        with self._engine.begin() as connection:
            connection.execute(delete(pictures).where(c.id == picture.id, c.key == picture.key))

    def ended(self, ids: Sequence[str]) -> dict[str, bool]:
        """Whether pictures are drawn or refused; those that are gone are left out."""
        with single(self._engine) as connection:
            query = select(c.id, c.ended_at.is_not(None)).where(c.id.in_(ids))
            return {row[0]: bool(row[1]) for row in connection.execute(query)}

    # ---- the worker's side --------------------------------------------------------------------------------------

    def claim(self) -> Picture | None:
        """Take the picture that has waited for longest; None when there is none to draw."""
        waiting = pictures.alias("waiting").c
        free = [waiting.ended_at.is_(None), waiting.attempt < MAX_ATTEMPTS]
        free.append(or_(waiting.lease_until.is_(None), waiting.lease_until < from_now()))
        free.append(waiting.asked_at > from_now(-WANTED_WAITS * self._settings.picture_seconds))
        first = select(waiting.id).where(*free).order_by(waiting.asked_at, waiting.id).limit(1)
        chosen = first.with_for_update(skip_locked=True).scalar_subquery()
        values = {"attempt": c.attempt + 1, "lease_until": from_now(self._settings.lease_seconds)}
        with self._engine.begin() as connection:
            taken = update(pictures).where(c.id == chosen).values(values).returning(pictures)
            row = connection.execute(taken).mappings().one_or_none()
        return None if row is None else Picture.from_row(row)

    @property
    def lease_seconds(self) -> float:
        """How long a claim holds that is not renewed."""
        return self._settings.lease_seconds

    def renew(self, picture: Picture) -> None:
        """Keep a claim: the picture is still being drawn."""
        with single(self._engine) as connection:
            until = from_now(self._settings.lease_seconds)
            connection.execute(update(pictures).where(*_held(picture)).values(lease_until=until))

    def finish(self, picture: Picture, key: str, size: int, sha256: str) -> list[str] | None:
        """It is drawn. Keys of older pictures that made room: delete them. None: it was drawn before, or is gone."""
        drawn = {"key": key, "bytes": size, "sha256": sha256}
        with self._engine.begin() as connection:
            if not self._end(connection, picture, drawn):
                return None
            return self._made_room(connection, picture.tenant)

    def refuse(self, picture: Picture, error: JobError) -> list[str] | None:
        """It cannot be drawn, now or later. Returns as `finish`."""
        with self._engine.begin() as connection:
            if not self._end(connection, picture, _refusal(error)):
                return None
            return self._made_room(connection, picture.tenant)

    def release(self, picture: Picture) -> None:
        """An attempt failed for a reason that passes: another may draw it soon. After the last one it is forgotten."""
        with self._engine.begin() as connection:
            if picture.attempt >= MAX_ATTEMPTS:
                connection.execute(delete(pictures).where(*_held(picture)))
            else:
                connection.execute(update(pictures).where(*_held(picture)).values(lease_until=from_now(RETRY_SECONDS)))

    # ---- how ----------------------------------------------------------------------------------------------------

    def _again(self, connection: Connection, asked: str) -> Picture | None:
        """Ask for what was asked for before; None: it was not. One that killed its workers is refused."""
        values: dict[str, Any] = {"asked_at": from_now()}
        row = connection.execute(update(pictures).where(c.id == asked).values(values).returning(pictures)).mappings()
        found = row.one_or_none()
        if found is None or found["attempt"] < MAX_ATTEMPTS or found["ended_at"] is not None:
            return None if found is None else Picture.from_row(found)
        late = [c.id == asked, c.ended_at.is_(None), c.lease_until < from_now()]
        ending = {**_refusal(KILLED), "ended_at": from_now(), "lease_until": None}
        refused = connection.execute(update(pictures).where(*late).values(ending).returning(pictures)).mappings()
        return Picture.from_row(refused.one_or_none() or found)

    def _first(self, connection: Connection, asked: str, job: Job, what: Mapping[str, Any]) -> Picture:
        alive = select(jobs.c.id).where(jobs.c.id == job.id, jobs.c.purged_at.is_(None))
        if connection.execute(alive).first() is None:
            raise JobNotFound(job.id)
        unwanted = [c.tenant == job.tenant, c.ended_at.is_(None), c.asked_at <= self._forgotten()]
        connection.execute(delete(pictures).where(*unwanted))
        waiting = select(func.count()).where(c.tenant == job.tenant, *self._wanted)
        bound = self._settings.max_pictures_per_tenant
        if connection.execute(waiting).scalar_one() >= bound:
            raise TooManyPictures(bound, RETRY_SECONDS)
        row = {"id": asked, "job_id": job.id, "tenant": job.tenant, "what": dict(what), "attempt": 0}
        made = insert(pictures).values(**row, asked_at=from_now()).returning(pictures)
        return Picture.from_row(connection.execute(made).mappings().one(), new=True)

    def _forgotten(self) -> ColumnElement[Any]:
        return from_now(-WANTED_WAITS * self._settings.picture_seconds - self._settings.lease_seconds)

    def _end(self, connection: Connection, picture: Picture, values: Mapping[str, Any]) -> bool:
        ending = {**values, "ended_at": from_now(), "lease_until": None}
        open_yet = [c.id == picture.id, c.ended_at.is_(None)]
        ended = update(pictures).where(*open_yet).values(ending).returning(c.id)
        return connection.execute(ended).first() is not None

    def _made_room(self, connection: Connection, tenant: str) -> list[str]:
        """Drop the oldest pictures beyond B2S_PICTURE_BYTES_PER_TENANT, but never the newest one; their keys."""
        newest_first = (c.ended_at.desc(), c.id)
        rank = func.row_number().over(order_by=newest_first).label("rank")
        kept = func.sum(c.bytes + ROW_BYTES).over(order_by=newest_first).label("kept")
        ranked = select(c.id, rank, kept)
        found = ranked.where(c.tenant == tenant, c.ended_at.is_not(None)).subquery()
        beyond = select(found.c.id).where(found.c.rank > 1, found.c.kept > self._settings.picture_bytes_per_tenant)
        ids = connection.execute(beyond.limit(500)).scalars().all()  # SQLite allows 999 parameters
        dropped = connection.execute(delete(pictures).where(c.id.in_(ids)).returning(c.key)).scalars()
        return [key for key in dropped if key is not None]


def _held(picture: Picture) -> list[ColumnElement[bool]]:
    """Condition: this attempt at the picture still counts."""
    return [c.id == picture.id, c.attempt == picture.attempt, c.ended_at.is_(None)]


def _refusal(error: JobError) -> dict[str, Any]:
    return {"error_code": error.code, "error_detail": error.detail, "bytes": 0}
