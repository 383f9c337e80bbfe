"""`python -m courier`: deliver webhooks from the database until told to stop. Several may run side by side."""

from __future__ import annotations

import asyncio
import signal
import sys

from courier.addresses import GuardedBackend
from courier.loop import Courier
from courier.sender import Sender
from store.database import connect
from store.errors import StoreError
from store.logs import configure_logs
from store.settings import load_settings
from store.webhooks import Webhooks


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit status."""
    try:
        settings = load_settings()
        configure_logs(settings)
        webhooks = Webhooks(connect(settings.database))
    except StoreError as error:
        print(f"courier: {error}", file=sys.stderr)
        return 1
    asyncio.run(_run(Courier(webhooks, Sender(GuardedBackend(settings.webhook_private)), settings.job_days)))
    return 0


async def _run(courier: Courier) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, courier.stop)
    await courier.run()


if __name__ == "__main__":
    raise SystemExit(main())
