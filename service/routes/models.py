"""Routes of models: list, one with its card, the weights, and delete."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from service.edge.access import FINETUNE, READ, CallerDep
from service.http import openapi, problems
from service.http.downloads import StoredFile, serve
from service.http.parameters import PlainText
from service.services import BasePath, ServicesDep
from store.model import Model

router = APIRouter(tags=["models"])


class ModelLinks(BaseModel):
    """Where to go from here; paths on this server."""

    self: str = Field(examples=["/models/base-gray"])
    weights: str = Field(description="The safetensors file.", examples=["/models/base-gray/weights"])


class ModelView(BaseModel):
    """One immutable model."""

    model_config = ConfigDict(title="Model")

    id: str = Field(description="What the option `model` takes.", examples=["base-gray"])
    name: str = Field(description="What its maker called it.", examples=["base-gray"])
    base_model: str | None = Field(description="The model it was made from; null for none.", examples=[None])
    promoted: bool | None = Field(
        description="Whether it beat its base on images that it did not learn from; null for a base model.",
        examples=[None],
    )
    channels: int = Field(description="Channels it looks at together: 1 gray (any image, a channel at a time), 3 RGB.")
    card: Mapping[str, Any] = Field(description="How it was made, and what it scored.")
    weights_bytes: int = Field(description="Size of the weights file.", examples=[3447560])
    sha256: str = Field(description="Checksum of the weights file.")
    created_at: datetime
    links: ModelLinks


class ModelList(BaseModel):
    """A page of models."""

    models: list[ModelView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")


class ListQuery(BaseModel):
    """Which models to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200, description="Models a page.")
    cursor: PlainText | None = Field(None, max_length=200, description="`next_cursor` of the page before.")


async def find_model(
    services: ServicesDep,
    caller: CallerDep,
    model_id: Annotated[PlainText, Path(max_length=200, description="Id of a model.", examples=["base-gray"])],
) -> Model:
    """The model with the id of the path. Raises the store's ModelNotFound, answered as 404."""
    return await to_thread.run_sync(services.models.get, model_id, caller.tenant)


ModelDep = Annotated[Model, Depends(find_model)]


@router.get(
    "/models",
    operation_id="list_models",
    summary="List models",
    dependencies=[READ],
    responses=openapi.responses(problems.InvalidRequest),
)
async def list_models(
    services: ServicesDep, caller: CallerDep, base: BasePath, query: Annotated[ListQuery, Query()]
) -> ModelList:
    """The models that jobs can use. Without the option `model`, the base model that fits the channels is taken."""
    page = await to_thread.run_sync(services.models.page, caller.tenant, query.limit, query.cursor)
    return ModelList(models=[_view(model, base) for model in page.models], next_cursor=page.next_cursor)


@router.get(
    "/models/{model_id}",
    operation_id="get_model",
    summary="Get a model",
    dependencies=[READ],
    responses=openapi.responses(problems.ModelNotFound, problems.InvalidRequest),
)
async def get_model(model: ModelDep, base: BasePath) -> ModelView:
    """One model and its card."""
    return _view(model, base)


@router.get(
    "/models/{model_id}/weights",
    operation_id="get_weights",
    summary="Download a model's weights",
    dependencies=[READ],
    response_class=Response,
    responses=openapi.WEIGHTS_RESPONSES,
)
async def get_weights(request: Request, services: ServicesDep, model: ModelDep) -> Response:
    """The weights as a safetensors file, which carries its own network size and card. `ETag` and `Range` work."""
    file = StoredFile(
        model.weights_key, model.weights_bytes, model.sha256, "application/octet-stream", f"{model.id}.safetensors"
    )
    return await serve(request, services.blobs, file)


@router.delete(
    "/models/{model_id}",
    operation_id="delete_model",
    summary="Delete a fine-tuned model",
    status_code=204,
    response_class=Response,
    responses=openapi.responses(
        problems.ModelNotFound, problems.ModelInUse, problems.ModelIsShipped, problems.InvalidRequest
    ),
    dependencies=[FINETUNE],
)
async def delete_model(services: ServicesDep, caller: CallerDep, model: ModelDep) -> Response:
    """Remove a model and its weights. Refused while a job uses it, and for base models."""
    gone = await to_thread.run_sync(services.models.delete, model.id, caller.tenant)
    await to_thread.run_sync(services.blobs.delete, [gone.weights_key])
    return Response(status_code=204)


def _shown(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """The card; of models made before December 2026 without the place of their base on the server's disk."""
    config = card.get("config")
    if not isinstance(config, Mapping) or "base" not in config:
        return card
    return {**card, "config": {name: value for name, value in config.items() if name != "base"}}


def _view(model: Model, base: str) -> ModelView:
    path = f"{base}/models/{model.id}"
    return ModelView(
        id=model.id,
        name=model.name,
        base_model=model.base_model,
        promoted=None if model.tenant is None else bool(model.card.get("promoted")),
        channels=model.channels,
        card=_shown(model.card),
        weights_bytes=model.weights_bytes,
        sha256=model.sha256,
        created_at=model.created_at,
        links=ModelLinks(self=path, weights=f"{path}/weights"),
    )
