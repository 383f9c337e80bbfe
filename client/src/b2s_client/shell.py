"""What every command of `b2s` shares: where it writes, how it says what went wrong, and its exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from .errors import B2SError, JobCanceled, JobFailed, ProblemError, TimedOut, Unreachable
from .inputs import InputError

out = Console()
err = Console(stderr=True)

FAILED, USAGE, UNREACHABLE, REFUSED, LATE, WARNED, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130


@contextmanager
def reported(as_json: bool, to_stderr: bool = False) -> Iterator[None]:
    """Turn what goes wrong into one line on stderr (or one JSON object) and the exit code."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has seen enough; typer ends quietly
    except (B2SError, InputError, OSError) as error:
        if as_json:
            problem = error.problem if isinstance(error, ProblemError) else {"detail": str(error)}
            print_json({"error": problem}, to_stderr)
        else:
            err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            if isinstance(error, ProblemError) and error.request_id:
                err.print(f"request {error.request_id}", highlight=False)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        err.print("Interrupted. What is finished is kept; run the same command again for the rest.")
        raise typer.Exit(INTERRUPTED) from None


def exit_code(error: Exception) -> int:
    """The exit code for an error, as the head of `cli.py` lists them."""
    match error:
        case InputError():
            return USAGE
        case Unreachable():
            return UNREACHABLE
        case TimedOut():
            return LATE
        case JobFailed() | JobCanceled() | OSError():
            return FAILED
        case _:
            return REFUSED


def print_json(value: dict[str, Any], to_stderr: bool = False) -> None:
    """One line of JSON."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.write(json.dumps(value) + "\n")
    stream.flush()
