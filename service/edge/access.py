"""Who is asking, and may they: `CallerDep` gives a route its tenant, `READ`, `DENOISE`, `FINETUNE`, `ADMIN` guard it.

    @router.get("/things", dependencies=[READ])
    async def list_things(caller: CallerDep) -> …:   # caller.tenant sees its own things only

Another tenant's things are answered as if they did not exist: ask the store with `caller.tenant`, and it is a 404.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from anyio import to_thread
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.http import problems
from service.services import ServicesDep
from store.job import DEFAULT_TENANT
from store.keys import Scope
from store.tenants import Allowance

BEARER = HTTPBearer(
    scheme_name="key",
    bearerFormat="b2s_…",
    auto_error=False,
    description="A key from the operator (`make key TENANT=…`). A server on loopback without any key asks for none.",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent the request. `key_id` is None where the service asks for no key."""

    tenant: str
    scopes: frozenset[Scope]
    allowance: Allowance
    key_id: str | None = None

    def require(self, scope: Scope) -> None:
        """Raise ScopeMissing unless the key has the scope; `admin` has all."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            have = ", ".join(sorted(self.scopes)) or "none"
            raise problems.ScopeMissing(
                f"This needs the scope {scope}, and the key {self.key_id} has {have}. Use another key, or ask the "
                f"operator for one: make key TENANT={self.tenant} SCOPES={scope}."
            )


ANYBODY = Caller(DEFAULT_TENANT, frozenset(Scope), Allowance())
"""Whoever sends a request to a service that asks for no key."""


async def identify(
    request: Request,
    services: ServicesDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> Caller:
    """The caller of a request, once its rate is checked.

    Raises:
        KeyMissing, KeyRefused, RateLimited: with what to do about it.
    """
    if services.gatekeeper.recently_open():
        caller = ANYBODY
    else:
        caller = await to_thread.run_sync(_admit, services, None if bearer is None else bearer.credentials)
    structlog.contextvars.bind_contextvars(tenant=caller.tenant, key=caller.key_id)
    services.rates.take(caller.tenant, caller.allowance.requests_per_minute)
    return caller


CallerDep = Annotated[Caller, Depends(identify)]


def _admit(services: ServicesDep, text: str | None) -> Caller:
    if services.gatekeeper.open():
        return ANYBODY
    if text is None:
        raise problems.KeyMissing(
            "This server asks for a key. Send it as `Authorization: Bearer b2s_…`; the operator makes one with "
            "`make key TENANT=…`.",
            headers={"WWW-Authenticate": 'Bearer realm="b2s"'},
        )
    found = services.gatekeeper.authenticate(text)
    if found is None:
        raise problems.KeyRefused(
            "This key is not valid here: it is mistyped, expired or revoked. Check that all of it was copied, or ask "
            "the operator for another one.",
            headers={"WWW-Authenticate": 'Bearer realm="b2s", error="invalid_token"'},
        )
    key, allowance = found
    return Caller(key.tenant, key.scopes, allowance, key.id)


def needs(scope: Scope) -> Any:
    """A route dependency: the caller's key has to have the scope."""
    return Depends(_guard(scope))


def _guard(scope: Scope) -> Callable[[Caller], Awaitable[None]]:
    async def guard(caller: CallerDep) -> None:
        caller.require(scope)

    return guard


READ = needs(Scope.READ)
DENOISE = needs(Scope.DENOISE)
FINETUNE = needs(Scope.FINETUNE)
ADMIN = needs(Scope.ADMIN)
