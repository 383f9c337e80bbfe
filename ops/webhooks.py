"""`python -m ops webhooks …`: the secrets that sign a tenant's webhooks, the log of deliveries, and their replay."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ops.console import open_store, show
from store.webhooks import Webhooks

app = typer.Typer(help=__doc__, no_args_is_help=True)

Tenant = Annotated[str, typer.Argument(help="Whose.")]


@app.command()
def secret(tenant: Tenant) -> None:
    """Print the secret a receiver verifies with (whsec_…); made if there is none yet."""
    _, engine = open_store()
    print(Webhooks(engine).secret(tenant))


@app.command()
def rotate(tenant: Tenant) -> None:
    """Make another secret and print it; the old one signs along with it for a day."""
    _, engine = open_store()
    print("Both secrets sign for the next 24 h: change every receiver within that time.", file=sys.stderr)
    print(Webhooks(engine).rotate_secret(tenant))


@app.command("list")
def list_deliveries(
    tenant: Tenant, limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50
) -> None:
    """List deliveries."""
    _, engine = open_store()
    rows = [
        (found.id, found.type, found.state, found.attempts, found.job_id, found.url, found.last_error or "")
        for found in Webhooks(engine).page(tenant, limit=limit).deliveries
    ]
    show(("id", "type", "state", "attempts", "job", "url", "last error"), rows)


@app.command()
def replay(tenant: Tenant, delivery_id: Annotated[str, typer.Argument(help="The id of a delivery: msg_….")]) -> None:
    """Deliver once more, now, with retries from the start."""
    _, engine = open_store()
    print(f"{Webhooks(engine).replay(delivery_id, tenant).id} will be delivered again.")
