from collections.abc import Iterator

import pytest

from b2s_client import Client
from tests.harness.service_process import Service, running_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The real service, worker included."""
    with running_service(tmp_path_factory.mktemp("client-service"), B2S_FINETUNE_NICE="0") as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as made:
        yield made
