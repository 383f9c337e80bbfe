"""What a courier tells Prometheus: of every attempt what came of it, from a process of its own."""

from __future__ import annotations

import socket

import httpx
from prometheus_client.parser import text_string_to_metric_families

from store.webhooks import DeliveryState
from tests.courier.test_courier import courier, delivery, finished, sqlite, wait
from tests.harness.ports import free_port
from tests.harness.receiver import receiving, status
from tests.harness.stores import Store

__all__ = ["sqlite"]

Values = dict[tuple[str, str], float]


def test_attempts_are_counted_by_what_came_of_them(sqlite: Store) -> None:
    port = free_port()
    with receiving(status(200)) as kind, receiving(status(410)) as gone, receiving(status(500)) as ill:
        for receiver in (kind, kind, gone, ill):
            finished(sqlite, receiver.url)
        with courier(sqlite, B2S_COURIER_METRICS_PORT=str(port)):
            wait(lambda: told(port).get(("b2s_webhook_attempt_seconds_count", "")) == 4)
            values = told(port)
    counted = {outcome: values["b2s_webhook_attempts_total", outcome] for outcome in ("delivered", "retried", "failed")}
    assert counted == {"delivered": 2, "retried": 1, "failed": 1}
    assert values["b2s_webhook_age_seconds_count", ""] == 2
    assert values["b2s_webhooks_under_way", ""] >= 0


def test_a_port_in_use_stops_no_delivery(sqlite: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, receiving(status(200)) as receiver:
        job_id = finished(sqlite, receiver.url)
        with courier(sqlite, B2S_COURIER_METRICS_PORT=str(taken.getsockname()[1])):
            wait(lambda: delivery(sqlite, job_id).state is DeliveryState.DELIVERED)


def told(port: int) -> Values:
    """Every value by name and outcome; none while nobody answers."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    except httpx.TransportError:
        return {}
    families = text_string_to_metric_families(text)
    return {(s.name, s.labels.get("outcome", "")): s.value for family in families for s in family.samples}
