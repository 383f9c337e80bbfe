"""`python -m ops tenants …`: what each tenant may use."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from ops.console import open_store, show
from store.tenants import Allowance, Tenants

app = typer.Typer(help=__doc__, no_args_is_help=True)

Bound = int | None


@app.command("list")
def list_tenants() -> None:
    """List tenants and their bounds; a dash is no bound."""
    _, engine = open_store()
    rows = [
        (name, *("-" if bound is None else bound for bound in _bounds(allowance)))
        for name, allowance in Tenants(engine).list().items()
    ]
    show(("tenant", *Allowance.__dataclass_fields__), rows)


@app.command()
def limit(
    tenant: Annotated[str, typer.Argument(help="Whose bounds to change; those not named stay.")],
    requests_per_minute: Annotated[Bound, typer.Option(min=-1, help="At each gateway; -1: no bound.")] = None,
    unfinished_jobs: Annotated[Bound, typer.Option(min=-1, help="Queued or running; -1: no bound.")] = None,
    pixels_per_day: Annotated[Bound, typer.Option(min=-1, help="Of the jobs accepted, UTC; -1: no bound.")] = None,
    stored_bytes: Annotated[Bound, typer.Option(min=-1, help="Kept at a time, of all kinds; -1: no bound.")] = None,
) -> None:
    """Change what a tenant may use, from the next request on. 0 allows nothing."""
    _, engine = open_store()
    tenants = Tenants(engine)
    given = {
        "requests_per_minute": requests_per_minute,
        "unfinished_jobs": unfinished_jobs,
        "pixels_per_day": pixels_per_day,
        "stored_bytes": stored_bytes,
    }
    changes = {name: None if bound == -1 else bound for name, bound in given.items() if bound is not None}
    tenants.set_allowance(tenant, replace(tenants.allowance(tenant), **changes))
    list_tenants()


def _bounds(allowance: Allowance) -> list[int | None]:
    return [getattr(allowance, name) for name in allowance.__dataclass_fields__]
