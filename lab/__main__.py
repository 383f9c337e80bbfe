"""`python -m lab`: denoise, estimate, train, evaluate and export from the shell."""

from __future__ import annotations

import sys

from lab.cli import app, screen


def main() -> None:
    """Run the command line; what a user can mend is one sentence and exit status 2, never a traceback."""
    try:
        app()
    except (ValueError, OSError) as error:
        screen.print(f"error: {error}", style="red", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
