"""`python -m ops`: the operator's commands on the store that the environment's settings (`B2S_…`) name."""

import sys

import typer
from sqlalchemy.exc import SQLAlchemyError

from ops import commands, keys, tenants, webhooks
from store.errors import StoreError
from store.private import write_privately

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


def main() -> None:
    """Run one command; an error that a person can mend is one line and exit status 1."""
    write_privately()
    app.add_typer(keys.app, name="keys")
    app.add_typer(tenants.app, name="tenants")
    app.add_typer(webhooks.app, name="webhooks")
    app.command()(commands.backup)
    app.command()(commands.restore)
    try:
        app()
    except (StoreError, OSError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    except SQLAlchemyError as error:
        print(_without_rows(error), file=sys.stderr)
        raise SystemExit(1) from None


def _without_rows(error: SQLAlchemyError) -> str:
    """What the database says, without statement, parameters and PostgreSQL's DETAIL: rows hold secrets."""
    said = str(getattr(error, "orig", None) or "").strip().partition("\n")[0]
    return f"The database failed: {said or type(error).__name__}"


if __name__ == "__main__":
    main()
