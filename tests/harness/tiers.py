"""Which tests need a server or train a network, by what they import and ask for; `make test-fast` leaves them out."""

from __future__ import annotations

import pytest

ROOMS = ("e2e", "integration", "page")
"""Folders whose tests all run against servers."""
FIXTURES = frozenset({"gateway", "postgres_url", "process", "redis_url", "s3_environment", "service", "shared_gateway"})
STARTERS = frozenset({"clustered_service", "receiving", "running_gateway", "running_prometheus", "running_service"})
"""Helpers that start one; a module that imports it does so in most of its tests."""
PARAMETERS = frozenset({"postgresql", "postgresql-s3"})
TRAINERS = frozenset({"FineTuner", "Trainer", "train_in_folder", "trainer_of"})


def mark(item: pytest.Item) -> None:
    """Give a test its marks: `server`, `training`, both or none."""
    names = set(vars(getattr(item, "module", None) or object))
    asked = set(getattr(item, "fixturenames", ()))
    values = getattr(getattr(item, "callspec", None), "params", {}).values()
    in_room = any(room in item.path.parts for room in ROOMS)
    if in_room or asked & FIXTURES or names & STARTERS or any(value in PARAMETERS for value in map(str, values)):
        item.add_marker(pytest.mark.server)
    if names & TRAINERS:
        item.add_marker(pytest.mark.training)
