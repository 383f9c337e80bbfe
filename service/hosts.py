"""Who may reach a gateway that asks for no key: loopback only, unless the operator says that it is guarded."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems import MEDIA_TYPE, HostRefused
from store.errors import SettingsError
from store.keys import Keys
from store.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_guarded(settings: Settings, keys: Keys) -> None:
    """Refuse to start an open gateway where strangers can reach it. Blocking.

    Raises:
        SettingsError: HOST is not loopback, there is no key yet, and B2S_ALLOW_OPEN is not set.
    """
    if not is_loopback(settings.host) and not settings.allow_open and not keys.configured():
        raise SettingsError(
            f"HOST={settings.host} would let anyone who reaches this machine use the service, which has no key yet. "
            "Make one with `make key TENANT=…`, set HOST=127.0.0.1, or set B2S_ALLOW_OPEN=1 if a firewall or an "
            "authenticating proxy stands in front of it."
        )


class LoopbackHosts:
    """Middleware: answer only requests for a loopback name and from loopback pages, while no key is asked for.

    Without it a web page could point a name of its own at 127.0.0.1 (DNS rebinding) and read the user's results, or
    post forms to 127.0.0.1 (cross-site request forgery). Such a page has no key, so a gateway that asks for one may
    stand behind a proxy of any name.
    """

    def __init__(self, app: ASGIApp, open: Callable[[Any], Awaitable[bool]]) -> None:
        """`open` tells whether the gateway, given as its ASGI application, asks for no key."""
        self.app = app
        self.open = open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            strange = _stranger(headers)
            if strange is not None and await self.open(scope["app"]):
                await _refuse(strange, scope, receive, send)
                return
        await self.app(scope, receive, send)


def _stranger(headers: Headers) -> str | None:
    """The name that is not loopback, of the host that was asked for or of the page that asks; None: there is none."""
    host = _without_port(headers.get("host", ""))
    if host and not is_loopback(host):
        return host
    origin = headers.get("origin")  # browsers send it with every form and script that may change something
    if origin is None:
        return None
    try:
        name = urlsplit(origin).hostname or ""
    except ValueError:
        name = ""
    return None if is_loopback(name) else origin


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


async def _refuse(host: str, scope: Scope, receive: Receive, send: Send) -> None:
    problem = HostRefused(
        f"This server asks for no key, so it answers to 127.0.0.1 and localhost, for pages of this machine, and not to "
        f"{host[:100]!r}. Use one of those names, or make a key (`make key TENANT=…`) if it is meant to be reached "
        "from elsewhere."
    )
    body = problem.document(scope["state"]["request_id"])
    await JSONResponse(body, status_code=problem.status, media_type=MEDIA_TYPE)(scope, receive, send)
