"""What a courier tells Prometheus. No label carries a tenant or a receiver, so the number of series stays fixed."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from store.webhooks import DeliveryState

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
LATE = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0, 86_400.0)
OUTCOMES = ("delivered", "retried", "failed", "lost")


class CourierMetrics:
    """The series of one courier."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._attempts = Counter(
            "b2s_webhook_attempts", "Attempts at webhook deliveries.", ["outcome"], registry=self.registry
        )
        for outcome in OUTCOMES:
            self._attempts.labels(outcome)  # there from the start: an increase from nothing to 1 is none for Prometheus
        self._seconds = Histogram(
            "b2s_webhook_attempt_seconds", "Time of an attempt.", buckets=SECONDS, registry=self.registry
        )
        self._age = Histogram(
            "b2s_webhook_age_seconds",
            "Age of a delivery when it arrived: from the end of its job.",
            buckets=LATE,
            registry=self.registry,
        )
        self._under_way = Gauge("b2s_webhooks_under_way", "Attempts being made now.", registry=self.registry)

    def observe_attempt(self, seconds: float, after: DeliveryState | None, age_seconds: float) -> None:
        """Count an attempt.

        Args:
            after: what the delivery is now; None: another courier has it, since this one took too long.
            age_seconds: how long ago the delivery's job ended.
        """
        words = {DeliveryState.DELIVERED: "delivered", DeliveryState.PENDING: "retried", DeliveryState.FAILED: "failed"}
        self._attempts.labels("lost" if after is None else words[after]).inc()
        self._seconds.observe(seconds)
        if after is DeliveryState.DELIVERED:
            self._age.observe(age_seconds)

    def set_under_way(self, count: int) -> None:
        """Record how many attempts are being made."""
        self._under_way.set(count)


def serve_metrics(metrics: CourierMetrics, host: str, port: int) -> None:
    """Answer `/metrics` from a thread.

    Raises:
        OSError: the port is in use.
    """
    start_http_server(port, host, metrics.registry)
