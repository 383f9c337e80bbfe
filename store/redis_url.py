"""URLs of Redis, of which a Unix socket has two: redis-py's `unix:///path?db=0`, Celery's `redis+socket:///path?virtual_host=0`.

Settings keep redis-py's; `for_celery` is the one way to the other.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

SCHEMES = ("redis", "rediss", "unix", "redis+socket")
_TO_CELERY = {"db": "virtual_host"}
_TO_REDIS = {celery: redis for redis, celery in _TO_CELERY.items()}


def for_redis(url: str) -> str:
    """A URL in either spelling, as redis-py has it.

    Raises:
        ValueError: it is none of Redis; the text says which there are.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ValueError("it has to begin with redis://, rediss:// or, for a socket, unix:///")
    if scheme in ("unix", "redis+socket") and urlsplit(url).path in ("", "/"):
        raise ValueError("it has to name the path of a socket, as in unix:///run/b2s/redis.sock")
    return _respelled(url, "unix", _TO_REDIS) if scheme == "redis+socket" else url


def for_celery(url: str) -> str:
    """A URL as redis-py has it, as Celery (kombu) has it."""
    return _respelled(url, "redis+socket", _TO_CELERY) if urlsplit(url).scheme == "unix" else url


def of_socket(path: Path) -> str:
    """The URL of a Redis that listens on a Unix socket."""
    return f"unix://{quote(str(path))}"


def _respelled(url: str, scheme: str, names: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = [(names.get(name, name), value) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    # By hand: urlunsplit leaves the slashes out where there is no host, and kombu wants all three.
    return f"{scheme}://{parts.netloc}{urlunsplit(('', '', parts.path, urlencode(query), ''))}"
