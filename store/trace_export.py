"""Where spans go: over OTLP (HTTP) to whom the standard OTEL_… variables name; by default http://localhost:4318."""

from __future__ import annotations

import os

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

QUERY = "url.query"


class QueriesLeftOut(SpanProcessor):
    """A request's query may name a `webhook_url` with a password in it, and traces are read by many."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Overwrite the query while the span can still be written."""
        if span.attributes is not None and QUERY in span.attributes:
            span.set_attribute(QUERY, "REDACTED")


def export_spans(process: str) -> None:
    """Make this process's spans go out in batches, from a thread of their own; a collector that is away loses them."""
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: f"b2s-{process}"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(QueriesLeftOut())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
