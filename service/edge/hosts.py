"""Who may reach a gateway that asks for no key: loopback only, unless the operator says that it is guarded."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.problem import MEDIA_TYPE
from service.http.problems import HostRefused
from store.errors import SettingsError
from store.keys import Keys
from store.loopback import is_loopback
from store.settings import Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


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


@dataclass(frozen=True, slots=True)
class Names:
    """What a gateway without keys answers to: loopback, what the operator names, and, where it listens beyond loopback,
    addresses: nobody points a name of their own at a page that was asked for by its address.
    """

    allowed: frozenset[str]
    addresses: bool

    @classmethod
    def of(cls, settings: Settings) -> Names:
        """Those of the settings."""
        named = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
        return cls(frozenset(named), not is_loopback(settings.host))

    def know(self, host: str) -> bool:
        """Whether a host, without its port, is one of them."""
        return is_loopback(host) or host.lower() in self.allowed or (self.addresses and _is_address(host))


class KnownHosts:
    """Middleware: answer only requests for a name that is known and from pages of it, while no key is asked for.

    Without it a web page could point a name of its own at the service (DNS rebinding) and read the user's results, or
    post forms to it (cross-site request forgery). Such a page has no key, so a gateway that asks for one may stand
    behind a proxy of any name.
    """

    def __init__(self, app: ASGIApp, names: Names, open: Callable[[Any], Awaitable[bool]]) -> None:
        """`open` tells whether the gateway, given as its ASGI application, asks for no key."""
        self.app = app
        self.names = names
        self.open = open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            strange = _stranger(scope["method"], Headers(scope=scope), self.names)
            if strange is not None and await self.open(scope["app"]):
                await _refuse(strange, scope, receive, send)
                return
        await self.app(scope, receive, send)


def _stranger(method: str, headers: Headers, names: Names) -> str | None:
    """What is not known: the host that was asked for, or the page that asks; None: both are."""
    host = _without_port(headers.get("host", ""))
    if host and not names.know(host):
        return host
    origin = headers.get("origin")  # browsers send it with every form and script that may change something
    if origin is None:
        crossed = method not in SAFE_METHODS and headers.get("sec-fetch-site", "") == "cross-site"
        return "a page of another site" if crossed else None
    try:
        name = urlsplit(origin).hostname or ""
    except ValueError:
        name = ""
    if not names.addresses:
        return None if names.know(name) else origin
    known = is_loopback(name) or name in names.allowed or name == host.strip("[]").lower()
    return None if known else origin


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


async def _refuse(host: str, scope: Scope, receive: Receive, send: Send) -> None:
    problem = HostRefused(
        f"This server asks for no key, so it answers to 127.0.0.1 and localhost, for pages of this machine, and not to "
        f"{host[:100]!r}. Use one of those names, make a key (`make key TENANT=…`) if it is meant to be reached from "
        "elsewhere, or name it in B2S_ALLOWED_HOSTS if a proxy or firewall guards it."
    )
    body = problem.document(scope["state"]["request_id"])
    await JSONResponse(body, status_code=problem.status, media_type=MEDIA_TYPE)(scope, receive, send)
