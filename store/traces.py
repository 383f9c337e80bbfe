"""Traces by OpenTelemetry, off unless B2S_TRACES is set: one trace goes from a request through the queue to a worker.

The way from one to the other is the job's row, which keeps the request's `traceparent` (W3C Trace Context): the message
of the doorbell stays an id. Without an exporter, every call here is a no-op of OpenTelemetry's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from store.settings import Settings

W3C = TraceContextTextMapPropagator()
LONGEST = 64
"""Characters of a `traceparent` that a row keeps; version 00 has 55."""


def start_traces(settings: Settings, process: str) -> None:
    """Export the spans of this process from now on, if the settings say so; once a process, before the first span.

    Args:
        process: `gateway`, `denoise` or `finetune`; the service is named `b2s-…` unless OTEL_SERVICE_NAME is set.
    """
    if settings.traces:
        from store.trace_export import export_spans  # the SDK costs a fifth of a second to import

        export_spans(process)


def flush_traces() -> None:
    """Send what is not sent yet; for a process about to end."""
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush()


def traceparent() -> str | None:
    """The current span as a job's row keeps it; None: nothing is traced."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier)
    found = carrier.get("traceparent")
    return found if found is not None and len(found) <= LONGEST else None


@contextmanager
def job_span(name: str, parent: str | None, attributes: Mapping[str, str | int]) -> Iterator[Span]:
    """A worker's span, the child of the request whose `traceparent` is given."""
    with _tracer().start_as_current_span(
        name, context=_context(parent), kind=SpanKind.CONSUMER, attributes=dict(attributes)
    ) as span:
        yield span


@contextmanager
def stage_span(name: str) -> Iterator[None]:
    """A part of the current span. What is raised in it is the job's to judge: a cancel is no error."""
    if not trace.get_current_span().is_recording():
        yield  # OpenTelemetry's no-op span would still swap its context, for every stage of every job
        return
    with _tracer().start_as_current_span(name, record_exception=False, set_status_on_exception=False):
        yield


def past_span(name: str, begin: datetime, end: datetime) -> None:
    """A part of the current span that is over already, such as the wait in the queue."""
    _tracer().start_span(name, start_time=_nanoseconds(begin)).end(_nanoseconds(end))


def say_outcome(outcome: str, well: bool) -> None:
    """Tell in the current span how the job ended."""
    span = trace.get_current_span()
    span.set_attribute("b2s.outcome", outcome)
    if not well:
        span.set_status(Status(StatusCode.ERROR, outcome))


def _tracer() -> trace.Tracer:
    return trace.get_tracer("b2s")


def _context(parent: str | None) -> Context:
    return W3C.extract({} if parent is None else {"traceparent": parent}, context=Context())


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e9)
