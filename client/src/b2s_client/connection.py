"""What both clients share: where the server is, the key, and how a call becomes httpx's arguments."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import Any

import httpx

from .calls import Call
from .errors import B2SError, Unreachable, WrongAddress
from .version import __version__

DEFAULT_URL = "http://127.0.0.1:8000"
CHUNK_BYTES = 1 << 20


def client_arguments(url: str | None, api_key: str | None, connections: int) -> dict[str, Any]:
    """Arguments of an httpx client; what is None comes from B2S_URL and B2S_API_KEY.

    Raises:
        WrongAddress: the address is none.
        B2SError: the key is none.
    """
    key = (api_key or os.environ.get("B2S_API_KEY") or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise B2SError("B2S_API_KEY holds characters that no key has; copy the key again.")
    headers = {"User-Agent": f"b2s-client/{__version__}"} | ({"Authorization": f"Bearer {key}"} if key else {})
    base_url = url or os.environ.get("B2S_URL") or DEFAULT_URL
    _check(base_url)
    arguments: dict[str, Any] = {
        "base_url": base_url,
        "headers": headers,
        "limits": httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    }
    if base_url.startswith("http://"):
        # To load the certificate authorities takes 0.1 s of CPU. This context trusts none, so TLS would fail, not pass.
        arguments["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return arguments


def _check(url: str) -> None:
    """Here, since httpx says so only at the first request, and to some addresses with an exception of no family."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise WrongAddress(f"{url} is no address of a service. Set B2S_URL to one such as {DEFAULT_URL}.")


def call_arguments(call: Call) -> dict[str, Any]:
    """Arguments of a request, but for its body."""
    headers = dict(call.headers)
    if call.json is not None:
        headers["Content-Type"] = "application/json"
    if isinstance(call.body, Path):
        headers["Content-Length"] = str(call.body.stat().st_size)
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.params),
        "headers": headers,
        "timeout": call.timeout,
    }


def content(call: Call) -> bytes | None:
    """The body of a call that is not a file."""
    if call.json is not None:
        return json.dumps(dict(call.json)).encode()
    return None if isinstance(call.body, Path) else call.body


def unreachable(url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """What to tell a person whose request got no answer."""
    reason = str(error) or type(error).__name__
    return Unreachable(f"{url} does not answer ({reason}). Start it, or set B2S_URL.")
