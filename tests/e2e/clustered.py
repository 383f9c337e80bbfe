"""The service as a cluster: two gateways behind a balancer and three workers on PostgreSQL, S3 and Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from tests.harness.cluster import cluster
from tests.harness.ports import free_port
from tests.harness.service_process import Service
from tests.harness.wire import wire

GATEWAYS = 2
WORKERS = 3


@contextmanager
def clustered_service(folder: Path, database_url: str, blob_url: str, redis_url: str) -> Iterator[Service]:
    """Run the cluster until the block ends. The S3 credentials are in the environment."""
    settings = {
        "database_url": database_url,
        "blob_url": blob_url,
        "lease_seconds": "30",
        "heartbeat_seconds": "0.5",
        "sweep_seconds": "2",
    }
    ports = [free_port() for _ in range(GATEWAYS)]
    with cluster(folder, redis_url, **settings) as running, wire(ports) as balancer:
        gateways = [running.gateway(port) for port in ports]
        workers = [running.worker() for _ in range(WORKERS)]
        for worker in workers:
            running.ready(worker)
        for port in ports:
            running.wait(partial(_is_ready, port))
        assert gateways[0].handle is not None
        url = f"http://127.0.0.1:{balancer.port}"
        yield Service(url, gateways[0].handle, folder, gateways[0].log, running.blobs)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False
