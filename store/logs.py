"""Logs of gateway and worker: pretty on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo

from store.settings import Settings

QUIET = (
    "alembic",
    "celery.app.trace",
    "celery.utils.functional",
    "celery.worker.strategy",
    "httpx",
    "kombu",
    "multiprocessing",
)


def shown(text: str) -> str:
    """The text with what a terminal would obey written out: escapes and all other controls but line ends."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def _printable(logger: object, method: str, event: EventDict) -> EventDict:
    """Write out controls in all that came from outside: a path, a file name, a header (JSON does so by itself)."""
    lines = {name: shown(value).replace("\n", "\\n") for name, value in event.items() if isinstance(value, str)}
    return {**event, **lines}


def _traceback(output: TextIO, error: ExcInfo) -> None:
    """A traceback as text (rich took 24 s to load), with what its messages quote written out."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, error)
    output.write(shown(plain.getvalue()))


def configure_logs(settings: Settings) -> None:
    """Send structlog's and the standard library's lines to stdout in one format, with the bound ids on each.

    Bind ids with `structlog.contextvars.bound_contextvars(request_id=…, job_id=…)`.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    pretty = settings.log_format == "pretty" or (settings.log_format == "auto" and sys.stdout.isatty())
    last: list[Any] = (
        [_printable, structlog.dev.ConsoleRenderer(colors=True, exception_formatter=_traceback)]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
