"""`python -m launch`: check, start Redis, migrate, supervise. Ends all that it started, however it is told to stop."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from typing import Any

from launch.checks import CannotStart, check_folder, check_port
from launch.redis_server import redis_server
from launch.supervisor import supervise
from store.database import connect
from store.errors import StoreError
from store.migrate import upgrade
from store.private import write_privately
from store.settings import Settings, load_settings


def main() -> int:
    """Run until Ctrl-C or SIGTERM; the exit status."""
    write_privately()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return run(load_settings())
    except (CannotStart, StoreError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def run(settings: Settings) -> int:
    """Check, start and supervise.

    Raises:
        CannotStart, StoreError: it cannot work; the text says what to do.
    """
    check_folder(settings.data_dir)
    check_port(settings.host, settings.port, "PORT")
    if settings.metrics_port:
        check_port(settings.metrics_host, settings.metrics_port, "B2S_METRICS_PORT")
    if settings.finetune_metrics_port:
        check_port(settings.metrics_host, settings.finetune_metrics_port, "B2S_FINETUNE_METRICS_PORT")
    own = "redis_url" not in settings.model_fields_set
    with redis_server(settings.data_dir / "redis") if own else nullcontext(settings.redis_url) as redis_url:
        upgrade(connect(settings.database))
        return supervise(settings, redis_url, own)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
