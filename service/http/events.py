"""The history of a job as Server-Sent Events, replayed from any point and followed until the job has ended."""

import json
from collections.abc import AsyncIterator

from anyio import to_thread
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from service.intake.fields import refused_field
from service.services import Services
from store.errors import JobNotFound
from store.job import Job, JobEvent

PING_SECONDS = 15.0
"""Proxies drop connections that stay silent for a minute or so."""

BATCH = 500


def last_event_id(header: str | None) -> int:
    """The number behind which to go on; 0 for the whole history. Raises InvalidRequest when it is no number of ours."""
    if header is None or header == "":
        return 0
    if not header.isdecimal() or len(header) > 9:
        raise refused_field(
            "Last-Event-ID", "this is not an id of an event of this stream; leave it out to get all events"
        )
    return int(header)


async def event_stream(services: Services, job: Job, after: int, key_id: str | None = None) -> AsyncIterator[bytes]:
    """Events behind number `after`, then new ones as they come; ends with the job, with the key, or with the gateway.

    A client that lost the connection comes back with `Last-Event-ID` and misses nothing: events are rows.
    """
    seen = after
    while True:
        batch = await to_thread.run_sync(services.jobs.events, job.id, seen, BATCH)
        for event in batch:
            yield _format(event)
            seen = event.seq
        if len(batch) == BATCH:
            continue
        try:
            job = await to_thread.run_sync(services.jobs.get, job.id, job.tenant)
        except JobNotFound:
            return
        if job.event_seq > seen and not job.purged:
            continue  # it moved on between the two queries
        if job.state.final or services.watcher.closed:
            return
        changed = await services.watcher.changed(job.id, seen, PING_SECONDS)
        if key_id is not None and not await to_thread.run_sync(services.keys.is_live, key_id):
            return  # revoked meanwhile: nothing that came after it is told
        if not changed:
            yield KEEPALIVE_COMMENT


def _format(event: JobEvent) -> bytes:
    data = json.dumps({**event.data, "at": event.at.isoformat()})
    return format_sse_event(event=event.type, data_str=data, id=str(event.seq))
