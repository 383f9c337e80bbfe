"""`python -m service`: run one gateway process until it is told to stop."""

import asyncio
import socket
import sys
from functools import partial
from typing import cast

import structlog
import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from service.app import create_app
from service.edge.connections import Connections, limits_for, raise_file_limit
from service.edge.hosts import require_guarded
from service.edge.slow_clients import ImpatientProtocol
from store.blobs import Blobs
from store.database import connect
from store.errors import SettingsError, StoreError
from store.job import JobKind
from store.jobs import Jobs
from store.keys import Keys
from store.logs import configure_logs
from store.loopback import is_loopback
from store.private import write_privately
from store.settings import Settings, load_settings
from store.traces import start_traces

STOP_SECONDS = 10
"""How long a stopping gateway lets transfers under way finish. Requests that wait for jobs are answered at once."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 s after which common proxies drop an idle connection, so that they never meet a closing one."""

BACKLOG = 2048

log = structlog.get_logger("service")


class Gateway(uvicorn.Server):
    """A server that, told to stop, first ends every wait: a stream open for a job would hold it up otherwise."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of every request that waits, then the server."""
        self._app.state.services.watcher.close()
        await super().shutdown(sockets)


def main() -> int:
    """Run the gateway; 1 when a setting, the port or the store keeps it from starting."""
    write_privately()
    try:
        settings = load_settings()
        configure_logs(settings)
        start_traces(settings, "gateway")
        app = create_app(settings)
        listener = listen(settings)
        asks_for_keys = require_store(settings)
        protocol = counted_protocol(app, settings)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    _say_who_may_come(settings, asks_for_keys)
    config = uvicorn.Config(
        app,
        http=protocol,
        log_config=None,  # store.logs formats every line
        log_level=settings.log_level,
        access_log=False,  # service.request_context writes it, with the request id
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=BACKLOG,
    )
    server = Gateway(app, config)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def counted_protocol(app: FastAPI, settings: Settings) -> type[asyncio.Protocol]:
    """The HTTP protocol with its connections counted, within what the system's limit on open files lets there be.

    Raises:
        SettingsError: B2S_TRUSTED_PROXIES is no list of addresses.
    """
    trusted = [name.strip() for name in settings.trusted_proxies.split(",") if name.strip()]
    limits = limits_for(raise_file_limit(), settings.max_connections, settings.max_connections_per_address, trusted)
    try:
        connections = Connections(limits, app.state.metrics.observe_refused_connection)
    except ValueError as error:
        raise SettingsError(f"B2S_TRUSTED_PROXIES={settings.trusted_proxies} is not usable: {error}") from None
    return cast(type[asyncio.Protocol], partial(ImpatientProtocol, connections=connections))


def listen(settings: Settings) -> socket.socket:
    """The listening socket.

    Raises:
        SettingsError: the address cannot be used; the text says what to change.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. Stop the program that uses "
            "the port, or set PORT (and HOST) to a free one."
        ) from None


def require_store(settings: Settings) -> bool:
    """Ask database and blob store once, so that a wrong setting is one sentence at start; whether there are keys.

    Raises:
        StoreError: one of them cannot be used, or strangers could use the service.
    """
    engine = connect(settings.database)
    try:
        Jobs(engine, settings).stats(JobKind.DENOISE)
        Blobs(settings.blobs).check()
        keys = Keys(engine)
        require_guarded(settings, keys)
        return keys.configured()
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise SettingsError(
            f"The database cannot be used: {reason}. Check B2S_DATABASE_URL (or B2S_DATA_DIR), and run "
            "`python -m store.migrate` to make its tables."
        ) from None
    finally:
        engine.dispose()


def _say_who_may_come(settings: Settings, asks_for_keys: bool) -> None:
    address = f"{settings.host}:{settings.port}"
    if asks_for_keys:
        log.info("every request needs a key", address=address)
    elif is_loopback(settings.host):
        log.info("no key is configured: answering to this machine only", address=address)
    else:
        log.warning(
            "no key is configured: anyone who reaches this address may use the service (B2S_ALLOW_OPEN)",
            address=address,
        )


if __name__ == "__main__":
    sys.exit(main())
