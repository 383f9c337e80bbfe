import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.harness.gateway import Running, running_gateway


@pytest.fixture(scope="session", autouse=True)
def json_logs() -> None:
    """Errors only, one JSON object a line, written to whatever stdout is at that moment."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_gateway(
        tmp_path_factory.mktemp("data"), max_upload_bytes=200_000, max_pixels=1_000_000, max_queued=20
    ) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Running) -> Iterator[Running]:
    yield shared_gateway
    shared_gateway.forget()
