"""One attempt: sign, connect to a checked address, post, and say in words what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import httpcore
import structlog

from courier.addresses import AddressRefused, GuardedBackend
from courier.signature import headers
from store.webhooks import Attempt, Delivery

log = structlog.get_logger(__name__)

TOTAL_SECONDS = 15.0
"""For resolving, connecting, TLS, sending and the first line of the answer together: drops do not reset the clock."""

GONE = 410
RETRY_AFTER_MOST = 86_400.0


class Sender:
    """Posts deliveries. A redirect is an answer like any other that is not 2xx: it is not followed."""

    def __init__(self, backend_of: Callable[[str], GuardedBackend], total_seconds: float = TOTAL_SECONDS) -> None:
        """`backend_of` gives the network for a tenant."""
        self._backend_of = backend_of
        self._total_seconds = total_seconds

    async def send(self, delivery: Delivery, secrets: Sequence[str]) -> Attempt:
        """Make one attempt; whatever goes wrong is told by it."""
        begin = time.monotonic()
        error: str
        final = False
        try:
            async with asyncio.timeout(self._total_seconds):
                status, retry_after = await self._post(delivery, secrets)
            return _judge(status, retry_after, time.monotonic() - begin)
        except TimeoutError:
            error = f"the receiver did not answer within {self._total_seconds:g} s"
        except AddressRefused as refused:
            error, final = str(refused), True
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as broken:
            error = f"the receiver cannot be reached: {broken or type(broken).__name__}"
        except (httpcore.UnsupportedProtocol, TypeError, ValueError) as bad:  # TypeError: httpcore's, for no ASCII
            error, final = f"the URL cannot be used: {bad}", True
        except Exception as unknown:  # unrecorded, it would be tried each minute for ever
            log.error("delivery_crashed", delivery=delivery.id, exc_info=unknown)
            error = "the delivery failed on our side; it is logged"
        return Attempt(time.monotonic() - begin, error=error, final=final)

    async def _post(self, delivery: Delivery, secrets: Sequence[str]) -> tuple[int, float]:
        """Status and Retry-After of the answer; its body is not read."""
        body = delivery.body.encode()
        sent = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": "b2s-webhooks",
            **headers(delivery.id, int(time.time()), body, secrets),
        }
        # A pool for one request: connections to strangers are not kept.
        async with httpcore.AsyncConnectionPool(network_backend=self._backend_of(delivery.tenant)) as pool:
            url = httpcore.URL(delivery.url)
            named = {"host": _authority(url), **sent}
            async with pool.stream("POST", url, headers=list(named.items()), content=body) as answer:
                asked = dict(answer.headers).get(b"retry-after", b"")
                return answer.status, float(asked) if asked.isdigit() else 0.0


def _judge(status: int, retry_after: float, seconds: float) -> Attempt:
    if 200 <= status < 300:
        return Attempt(seconds, status)
    if status == GONE:
        return Attempt(seconds, status, "the receiver answered 410: it wants no more of these", final=True)
    if 300 <= status < 400:
        return Attempt(seconds, status, f"the receiver answered {status}: redirects are not followed, name its new URL")
    return Attempt(seconds, status, f"the receiver answered {status}", retry_after=min(retry_after, RETRY_AFTER_MOST))


def _authority(url: httpcore.URL) -> str:
    host = url.host.decode()
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if url.port is None else f"{bracketed}:{url.port}"
