"""Webhooks as a tenant sees them: the option `webhook_url`, the log of deliveries, and their replay."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from service.edge.access import READ, CallerDep
from service.http import openapi, problems
from service.http.job_view import EXAMPLE_ID
from service.http.parameters import PlainText
from service.intake.fields import refused_field
from service.services import ServicesDep
from store.keys import Scope
from store.settings import Settings
from store.webhooks import AttemptLog, Delivery, DeliveryState

router = APIRouter(tags=["webhooks"])

EXAMPLE_DELIVERY = "msg_0192f0c1a2b37c4d8e5f60718293a4b5"


class AttemptView(BaseModel):
    """One attempt to deliver."""

    number: int = Field(ge=1)
    at: datetime
    seconds: float = Field(description="How long it took.")
    status: int | None = Field(description="The receiver's answer; null if there was none.", examples=[500])
    error: str | None = Field(description="Why it did not count; null if it did.")


class DeliveryView(BaseModel):
    """One message to one receiver."""

    model_config = ConfigDict(title="WebhookDelivery")

    id: str = Field(description="Sent as `webhook-id`, the same at every attempt.", examples=[EXAMPLE_DELIVERY])
    job_id: str = Field(examples=[EXAMPLE_ID])
    type: str = Field(description="What it tells.", examples=["job.succeeded"])
    url: str = Field(examples=["https://example.com/hooks/b2s"])
    state: DeliveryState = Field(description="pending → delivered | failed.", examples=["delivered"])
    attempts: int = Field(description="How often it was tried.", ge=0, examples=[1])
    next_at: datetime | None = Field(description="When it is tried next; null when it has ended.")
    last_status: int | None = Field(examples=[200])
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


class DeliveryDetail(DeliveryView):
    """One message with its body and every attempt."""

    model_config = ConfigDict(title="WebhookDeliveryDetail")

    body: str = Field(description="The bytes that are signed and sent.")
    log: list[AttemptView] = Field(description="Every attempt, oldest first.")


class DeliveryList(BaseModel):
    """A page of deliveries, newest first."""

    deliveries: list[DeliveryView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")


class ListQuery(BaseModel):
    """Which deliveries to list."""

    model_config = ConfigDict(extra="forbid")

    job_id: PlainText | None = Field(None, max_length=100, description="Only those that tell of this job.")
    limit: int = Field(50, ge=1, le=200, description="Deliveries a page.")
    cursor: str | None = Field(
        None, pattern="^msg_[0-9a-f]{32}$", description="`next_cursor` of the page before.", examples=[EXAMPLE_DELIVERY]
    )


async def find_delivery(
    services: ServicesDep,
    caller: CallerDep,
    delivery_id: Annotated[
        PlainText, Path(max_length=100, description="Id of a delivery.", examples=[EXAMPLE_DELIVERY])
    ],
) -> tuple[Delivery, list[AttemptLog]]:
    """The caller's delivery with the id of the path. Raises the store's DeliveryNotFound, answered as 404."""
    return await to_thread.run_sync(services.webhooks.get, delivery_id, caller.tenant)


DeliveryDep = Annotated[tuple[Delivery, list[AttemptLog]], Depends(find_delivery)]


@router.get(
    "/webhooks",
    operation_id="list_webhooks",
    summary="List webhook deliveries",
    responses=openapi.responses(problems.InvalidRequest),
    dependencies=[READ],
)
async def list_webhooks(services: ServicesDep, caller: CallerDep, query: Annotated[ListQuery, Query()]) -> DeliveryList:
    """What was sent, or is to be, for jobs that were posted with `webhook_url`."""
    page = await to_thread.run_sync(services.webhooks.page, caller.tenant, query.job_id, query.limit, query.cursor)
    views = [DeliveryView.model_validate(delivery, from_attributes=True) for delivery in page.deliveries]
    return DeliveryList(deliveries=views, next_cursor=page.next_cursor)


@router.get(
    "/webhooks/{delivery_id}",
    operation_id="get_webhook",
    summary="Get a webhook delivery",
    responses=openapi.responses(problems.WebhookNotFound, problems.InvalidRequest),
    dependencies=[READ],
)
async def get_webhook(found: DeliveryDep) -> DeliveryDetail:
    """One delivery: what was sent, and what came of each attempt."""
    delivery, log = found
    view = DeliveryView.model_validate(delivery, from_attributes=True)
    attempts = [AttemptView.model_validate(attempt, from_attributes=True) for attempt in log]
    return DeliveryDetail(**view.model_dump(), body=delivery.body, log=attempts)


@router.post(
    "/webhooks/{delivery_id}/replay",
    operation_id="replay_webhook",
    summary="Deliver a webhook again",
    status_code=202,
    responses=openapi.responses(problems.WebhookNotFound, problems.InvalidRequest),
)
async def replay_webhook(services: ServicesDep, caller: CallerDep, found: DeliveryDep) -> DeliveryView:
    """Send it again now, whatever became of it before; its id and body stay. Needs the scope of the job's kind."""
    delivery, _ = found
    caller.require(Scope(delivery.kind))
    again = await to_thread.run_sync(services.webhooks.replay, delivery.id, caller.tenant)
    return DeliveryView.model_validate(again, from_attributes=True)


def require_webhook_url(url: str | None, settings: Settings) -> None:
    """Refuse a URL that no delivery can go to. Where its name leads is judged at every delivery.

    Raises:
        InvalidRequest: it is no absolute URL, carries a password, is not https, or names another port than it may.
    """
    if url is None:
        return
    message = None
    try:
        parts = urlsplit(url)
        port = parts.port
        named = bool(parts.hostname) and port != 0
    except ValueError:
        parts, port, named = urlsplit(""), None, False
    ports = settings.receivers_ports
    if not named or parts.scheme not in ("http", "https"):
        message = "this is no URL of a receiver; it looks like https://example.com/hooks/b2s"
    elif parts.username is not None or parts.password is not None:
        message = "leave out name and password: the receiver knows us by the signature of the message"
    elif parts.scheme == "http" and not settings.webhook_private:
        message = "use https://; http:// is for receivers in the own network (setting B2S_WEBHOOK_PRIVATE)"
    elif port is not None and ports is not None and port not in ports:
        message = f"webhooks go to ports {', '.join(map(str, sorted(ports)))} (setting B2S_WEBHOOK_PORTS), not {port}"
    if message is not None:
        raise refused_field("webhook_url", message)
