"""`python -m courier`: deliver webhooks from the database until told to stop. Several may run side by side."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from courier.addresses import GuardedBackend
from courier.lookups import Lookups
from courier.loop import Courier
from courier.metrics import CourierMetrics, serve_metrics
from courier.sender import Sender
from store.database import connect
from store.errors import StoreError
from store.logs import configure_logs
from store.private import write_privately
from store.settings import Settings, load_settings
from store.webhooks import Webhooks

log = structlog.get_logger(__name__)


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit status."""
    write_privately()
    try:
        settings = load_settings()
        configure_logs(settings)
        webhooks = Webhooks(connect(settings.database))
    except StoreError as error:
        print(f"courier: {error}", file=sys.stderr)
        return 1
    lookups, metrics = Lookups(), CourierMetrics()
    private, ports = settings.webhook_private, settings.receivers_ports
    sender = Sender(lambda tenant: GuardedBackend(private, lookups.of(tenant), ports=ports))
    _serve(metrics, settings)
    asyncio.run(_run(Courier(webhooks, sender, lookups, settings.job_days, metrics)))
    return 0


def _serve(metrics: CourierMetrics, settings: Settings) -> None:
    """Answer /metrics. A port in use stops no delivery: a second courier of a machine has none, or one of its own."""
    if not settings.courier_metrics_port:
        return
    try:
        serve_metrics(metrics, settings.metrics_host, settings.courier_metrics_port)
    except OSError as error:
        log.warning("metrics_not_served", port=settings.courier_metrics_port, reason=str(error))


async def _run(courier: Courier) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, courier.stop)
    await courier.run()


if __name__ == "__main__":
    raise SystemExit(main())
