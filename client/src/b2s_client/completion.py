"""What a shell offers after Tab: ids and names that the service knows."""

from __future__ import annotations

from contextlib import suppress

import typer

from .errors import B2SError
from .retries import Retries
from .sync import Client

SHOWN = 50


def model_names(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Models whose id begins so, with their names; nothing where no service answers."""
    found: list[tuple[str, str]] = []
    with suppress(B2SError), _client(context) as client:
        found = [(model.id, model.name) for model in client.models() if model.id.startswith(incomplete)]
    return found


def job_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest jobs whose id begins so, with their states."""
    found: list[tuple[str, str]] = []
    with suppress(B2SError), _client(context) as client:
        found = [(job.id, job.state) for job in client.jobs(limit=SHOWN) if job.id.startswith(incomplete)]
    return found


def _client(context: typer.Context) -> Client:
    """Completion runs no callback, so the options before the command are read here."""
    given = context.find_root().params
    return Client(given.get("url"), given.get("api_key"), retries=Retries(attempts=1))
