"""`python -m ops keys …`: make, list, rotate and revoke API keys. A key's text is printed once and kept nowhere."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ops.console import open_store, show
from store.keys import DEFAULT_SCOPES, Key, Keys, Scope, new_key

app = typer.Typer(help=__doc__, no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(help="The id of a key: the part between b2s_ and the second underscore.")]


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Whom the key is for; made if there is none of this name.")],
    scopes: Annotated[str, typer.Option(help=f"Of {', '.join(Scope)}; commas between.")] = ",".join(DEFAULT_SCOPES),
    label: Annotated[str, typer.Option(help="What it is for, in words.")] = "",
    days: Annotated[float | None, typer.Option(help="Days until it expires; never, if left out.")] = None,
    text_from: Annotated[
        Path | None,
        typer.Option(help="Enter the key in this file, made by `new`, rather than a fresh one; again changes nothing."),
    ] = None,
) -> None:
    """Make a key and print it, alone on standard output."""
    wanted = [_scope(name) for name in scopes.replace(",", " ").split()]
    _, engine = open_store()
    text = text_from.read_text().strip() if text_from else None
    made = Keys(engine).create(tenant, wanted, label, days, text)
    print("Keep this key: it is shown this once." if text is None else "The key is entered.", file=sys.stderr)
    if text is None:
        print(made)


@app.command()
def new() -> None:
    """Print a fresh key without entering it anywhere: for installations that make their secrets first."""
    print(new_key())


@app.command("list")
def list_keys(tenant: Annotated[str | None, typer.Argument(help="Only this tenant's.")] = None) -> None:
    """List keys."""
    _, engine = open_store()
    rows = [
        (key.id, key.tenant, ",".join(sorted(key.scopes)), _state(key), f"{key.created_at:%Y-%m-%d}", key.label)
        for key in Keys(engine).list(tenant)
    ]
    show(("id", "tenant", "scopes", "state", "created", "label"), rows)


@app.command()
def rotate(
    key_id: KeyId,
    grace_hours: Annotated[float, typer.Option(help="How long the old one still works, at most.")] = 24.0,
    days: Annotated[
        float | None, typer.Option(help="Days until the new one expires; as the old one, if left out.")
    ] = None,
) -> None:
    """Make another key like this one, print it, and let the old one expire."""
    _, engine = open_store()
    made = Keys(engine).rotate(key_id, grace_hours, days)
    print(
        f"Keep this key: it is shown this once. The old one works for {grace_hours:g} h, unless it expires before.",
        file=sys.stderr,
    )
    print(made)


@app.command()
def revoke(key_id: KeyId) -> None:
    """End a key now, on every gateway."""
    _, engine = open_store()
    key = Keys(engine).revoke(key_id)
    print(f"The key {key.id} of {key.tenant} is revoked.")


def _scope(name: str) -> Scope:
    try:
        return Scope(name)
    except ValueError:
        raise typer.BadParameter(f"{name!r} is no scope; there are {', '.join(Scope)}.") from None


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "live"
    return f"{'expired' if key.expires_at < datetime.now(UTC) else 'until'} {key.expires_at:%Y-%m-%d %H:%M}"
