"""`GET /usage`: what a tenant used, day by day, and what is left of the day."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.edge.access import READ, CallerDep
from service.http import openapi, problems
from service.intake.fields import refused_field
from service.services import ServicesDep
from store.job import JobKind
from store.usage import resets_at

router = APIRouter(tags=["usage"])

DEFAULT_DAYS = 30
MOST_DAYS = 400


class DayView(BaseModel):
    """One day (UTC) of one kind of job."""

    day: date
    kind: JobKind
    accepted: int = Field(description="Jobs accepted on this day.", ge=0)
    accepted_pixels: int = Field(description="Pixels of these; what the quota counts.", ge=0)
    succeeded: int = Field(description="Jobs that succeeded on this day.", ge=0)
    failed: int = Field(ge=0)
    canceled: int = Field(ge=0)
    pixels: int = Field(description="Pixels of the jobs that succeeded.", ge=0)
    worker_seconds: float = Field(description="How long workers were busy with them, on whatever device.", ge=0)
    gpu_seconds: float = Field(description="Those of them that a GPU was held for; 0 on CPU workers.", ge=0)


class AllowanceView(BaseModel):
    """What the key's tenant may use; null: no bound."""

    requests_per_minute: int | None
    unfinished_jobs: int | None
    pixels_per_day: int | None
    stored_bytes: int | None


class LimitsView(BaseModel):
    """What one request may bring to this gateway now, whoever sends it."""

    upload_bytes: int = Field(description="Bytes of one image (B2S_MAX_UPLOAD_BYTES).", examples=[1073741824])
    image_pixels: int = Field(
        description="Pixels of one page of a TIFF, FITS or NPY stack; of other images, of all frames together "
        "(B2S_MAX_PIXELS)."
    )
    decoded_bytes: int = Field(description="Bytes of all frames of one image, decoded.", examples=[4294967296])
    set_bytes: int = Field(description="Bytes of a training set (B2S_MAX_SET_BYTES).")
    set_images: int = Field(description="Files of a training set (B2S_MAX_SET_IMAGES).")


class UsageView(BaseModel):
    """Usage and bounds of a tenant."""

    model_config = ConfigDict(title="Usage")

    tenant: str
    allowance: AllowanceView
    limits: LimitsView
    pixels_today: int = Field(description="Pixels accepted today, of all kinds.", ge=0)
    pixels_left_today: int | None = Field(description="What is left of the quota; null: no bound.", ge=0)
    stored_bytes: int = Field(description="Bytes of uploads, results, datasets and models that are kept now.", ge=0)
    stored_bytes_left: int | None = Field(description="How many more may be; null: no bound.", ge=0)
    resets_at: datetime = Field(description="When the next day begins.")
    days: list[DayView] = Field(description="Newest first; days without use are left out.")


def _written_out(value: object) -> object:
    """Refuse a number, which pydantic would take for seconds since 1970."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("a day is written as 2026-11-22")
    return value


Day = Annotated[date, BeforeValidator(_written_out)]


class UsageQuery(BaseModel):
    """Which days."""

    model_config = ConfigDict(extra="forbid")

    first: Day | None = Field(None, description=f"First day (UTC); default: {DEFAULT_DAYS} days before the last.")
    last: Day | None = Field(None, description="Last day (UTC); default: today.")


@router.get(
    "/usage",
    operation_id="get_usage",
    summary="What was used",
    responses=openapi.responses(problems.InvalidRequest),
    dependencies=[READ],
)
async def get_usage(services: ServicesDep, caller: CallerDep, query: Annotated[UsageQuery, Query()]) -> UsageView:
    """Jobs, pixels, worker- and GPU-seconds by day and kind, and what is left of today's quota."""
    last = query.last or datetime.now(UTC).date()
    first = query.first or date.fromordinal(max(last.toordinal() - DEFAULT_DAYS, 1))
    if not 0 <= (last - first) / timedelta(days=1) <= MOST_DAYS:
        raise refused_field("first", f"this has to be 0 to {MOST_DAYS} days before `last`")
    today, accepted = await to_thread.run_sync(services.usage.accepted_today, caller.tenant)
    days = await to_thread.run_sync(services.usage.days, caller.tenant, first, last)
    stored = await to_thread.run_sync(services.usage.stored, caller.tenant)
    room = caller.allowance.stored_bytes
    quota = caller.allowance.pixels_per_day
    return UsageView(
        tenant=caller.tenant,
        allowance=AllowanceView.model_validate(caller.allowance, from_attributes=True),
        limits=LimitsView(
            upload_bytes=services.upload_bytes,
            image_pixels=services.settings.max_pixels,
            decoded_bytes=services.probes.limits.max_decoded_bytes,
            set_bytes=services.settings.max_set_bytes,
            set_images=services.settings.max_set_images,
        ),
        pixels_today=accepted,
        pixels_left_today=None if quota is None else max(quota - accepted, 0),
        stored_bytes=stored,
        stored_bytes_left=None if room is None else max(room - stored, 0),
        resets_at=resets_at(today),
        days=[DayView.model_validate(day, from_attributes=True) for day in days],
    )
