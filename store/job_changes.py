"""The one way a job changes: its row, a line of its history, what its tenant used, and its webhook, or none of them."""

from __future__ import annotations

from sqlalchemy import Connection

from store import job_statements as sql
from store import usage, webhooks
from store.job import Job
from store.job_queries import Values
from store.job_statements import Change


def advance(connection: Connection, change: Change, bound: Values | None = None, event: str = "state") -> Job | None:
    """The job after `change`, if it still was what that asks for.

    Args:
        bound: parameters of the statement; SQLAlchemy sets the columns of the same names to those it does not use.
        event: type of the line in the history.
    """
    row = connection.execute(change, bound).mappings().one_or_none()
    if row is None:
        return None
    connection.execute(sql.RECORD, sql.event_of(row, event))
    webhooks.announce(connection, row)
    usage.settle(connection, row)  # last: a tenant's jobs wait for each other from here to the commit
    return Job.from_row(row)
