"""What the gateway tells Prometheus: its own requests, and the queue as the database has it at each scrape."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class GatewayMetrics:
    """The gateway's series. No label carries a job, a tenant or a raw path, so their number stays fixed."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "b2s_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "b2s_http_request_seconds",
            "Time to answer a request, waits asked for by the client included.",
            ["method", "route"],
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "b2s_connections_refused", "Connections closed because there were too many.", registry=self.registry
        )
        self._uploads = Counter("b2s_upload_bytes", "Image bytes accepted.", registry=self.registry)
        self._waiters = Gauge(
            "b2s_waiting_requests",
            "Requests and event streams held open for a job.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the pattern of the route, not the path."""
        known = method if method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)

    def observe_refused_connection(self) -> None:
        """Count one connection that was closed to make room."""
        self._refused.inc()

    def observe_upload(self, size: int) -> None:
        """Count an accepted upload of `size` bytes."""
        self._uploads.inc(size)

    def set_waiters(self, count: int) -> None:
        """Record how many requests are held open."""
        self._waiters.set(count)

    def exposition(self, queue: Collector | None) -> bytes:
        """The text that `/metrics` answers; `queue` adds the series read from the database.

        With several gateway processes behind one port, `PROMETHEUS_MULTIPROC_DIR` makes the client library keep its
        values in shared files; then any process answers for all.
        """
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            shared = CollectorRegistry()
            multiprocess.MultiProcessCollector(shared)
            text = generate_latest(shared)
        else:
            text = generate_latest(self.registry)
        if queue is None:
            return text
        scraped = CollectorRegistry()
        scraped.register(queue)
        return text + generate_latest(scraped)
