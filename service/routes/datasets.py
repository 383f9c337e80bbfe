"""Routes of datasets: make one, fill it an image at a time, look, delete."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from service.edge.access import FINETUNE, READ, CallerDep
from service.http import openapi, problems
from service.http.parameters import PlainText
from service.intake.parts import Part, media_type, read_raw
from service.intake.small_bodies import require_shallow, small_body
from service.intake.uploads import learnable
from service.services import BasePath, Services, ServicesDep
from store.blobs import dataset_prefix
from store.datasets import Dataset, DatasetImage, ImageNotFound
from store.ids import new_id

router = APIRouter(tags=["datasets"])

EXAMPLE_ID = "set_0192f0c1a2b37c4d8e5f60718293a4b5"
SHA256 = "^[0-9a-f]{64}$"


class NewDataset(BaseModel):
    """What a new dataset is called."""

    model_config = ConfigDict(extra="forbid")

    name: PlainText | None = Field(
        None, min_length=1, max_length=200, description="Any text; `GET /datasets?name=` finds it.", examples=["20x"]
    )


SENT = TypeAdapter[NewDataset | None](NewDataset | None)


class DatasetLinks(BaseModel):
    """Where to go from here; paths on this server."""

    self: str = Field(examples=[f"/datasets/{EXAMPLE_ID}"])
    images: str = Field(description="The images, by name.", examples=[f"/datasets/{EXAMPLE_ID}/images"])


class DatasetView(BaseModel):
    """A set of images that a fine-tune can learn from."""

    model_config = ConfigDict(title="Dataset")

    id: str = Field(description="What the option `dataset_id` takes.", examples=[EXAMPLE_ID])
    name: str | None = Field(examples=["20x"])
    images: int = Field(description="How many images it has.", examples=[60])
    bytes: int = Field(description="Their size.", examples=[31457280])
    created_at: datetime
    expires_at: datetime = Field(description="When it is removed, unless an image or a job comes before.")
    links: DatasetLinks


class DatasetList(BaseModel):
    """A page of datasets, newest first."""

    datasets: list[DatasetView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")


class DatasetImageView(BaseModel):
    """One image of a dataset."""

    model_config = ConfigDict(title="DatasetImage")

    name: str = Field(examples=["field-01.tif"])
    bytes: int = Field(examples=[524288])
    sha256: str = Field(description="Checksum of its bytes.", examples=["9f86d081884c7d65" + "0" * 48])
    created_at: datetime


class DatasetImageList(BaseModel):
    """A page of images, by name."""

    images: list[DatasetImageView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")


class ListQuery(BaseModel):
    """Which datasets to list."""

    model_config = ConfigDict(extra="forbid")

    name: PlainText | None = Field(None, max_length=200, description="Only datasets of this name.")
    limit: int = Field(50, ge=1, le=200, description="Datasets a page.")
    cursor: str | None = Field(
        None, pattern="^set_[0-9a-f]{32}$", description="`next_cursor` of the page before.", examples=[EXAMPLE_ID]
    )


class ImagesQuery(BaseModel):
    """Which images to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(1000, ge=1, le=1000, description="Images a page.")
    cursor: PlainText | None = Field(None, max_length=500, description="`next_cursor` of the page before.")


class ChecksumQuery(BaseModel):
    """What the sender knows about the bytes."""

    model_config = ConfigDict(extra="forbid")

    sha256: str | None = Field(
        None,
        pattern=SHA256,
        description=(
            "SHA-256 of the bytes in hex. If the image is there already, the answer comes without reading the body; "
            "bytes that arrive damaged are refused."
        ),
    )


def _check_name(name: str) -> str:
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError("a name has no empty parts, no `..`, no backslash and no control characters")
    return name


ImageName = Annotated[
    str,
    Path(min_length=1, max_length=500, description="Name of the image; may have slashes.", examples=["field-01.tif"]),
    AfterValidator(_check_name),
]


async def find_dataset(
    services: ServicesDep,
    caller: CallerDep,
    dataset_id: Annotated[PlainText, Path(max_length=100, description="Id of a dataset.", examples=[EXAMPLE_ID])],
) -> Dataset:
    """The caller's dataset with the id of the path. Raises the store's DatasetNotFound, answered as 404."""
    return await to_thread.run_sync(services.datasets.get, dataset_id, caller.tenant)


DatasetDep = Annotated[Dataset, Depends(find_dataset)]


@router.post(
    "/datasets",
    operation_id="create_dataset",
    summary="Make a dataset",
    status_code=201,
    responses=openapi.responses(
        problems.RequestRefused, problems.ContentTooLarge, problems.UnsupportedMediaType, problems.InvalidRequest
    ),
    openapi_extra={"requestBody": openapi.json_body(NewDataset)},
    dependencies=[FINETUNE],
)
async def create_dataset(
    request: Request, services: ServicesDep, caller: CallerDep, base: BasePath, response: Response
) -> DatasetView:
    """An empty dataset. Fill it with `PUT /datasets/{id}/images/{name}`, then name it in `POST /finetune`."""
    new = await _new_dataset(request)
    dataset = await to_thread.run_sync(services.datasets.create, caller.tenant, new.name)
    response.headers["Location"] = f"{base}/datasets/{dataset.id}"
    return _view(dataset, base)


@router.get(
    "/datasets",
    operation_id="list_datasets",
    summary="List datasets",
    responses=openapi.responses(problems.InvalidRequest),
    dependencies=[READ],
)
async def list_datasets(
    services: ServicesDep, caller: CallerDep, base: BasePath, query: Annotated[ListQuery, Query()]
) -> DatasetList:
    """Datasets, newest first."""
    page = await to_thread.run_sync(services.datasets.page, caller.tenant, query.name, query.limit, query.cursor)
    return DatasetList(datasets=[_view(dataset, base) for dataset in page.datasets], next_cursor=page.next_cursor)


@router.get(
    "/datasets/{dataset_id}",
    operation_id="get_dataset",
    summary="Get a dataset",
    responses=openapi.responses(problems.DatasetNotFound, problems.InvalidRequest),
    dependencies=[READ],
)
async def get_dataset(dataset: DatasetDep, base: BasePath) -> DatasetView:
    """One dataset: how many images it has, and when it expires."""
    return _view(dataset, base)


@router.get(
    "/datasets/{dataset_id}/images",
    operation_id="list_dataset_images",
    summary="List the images of a dataset",
    responses=openapi.responses(problems.DatasetNotFound, problems.InvalidRequest),
    dependencies=[READ],
)
async def list_dataset_images(
    services: ServicesDep, dataset: DatasetDep, query: Annotated[ImagesQuery, Query()]
) -> DatasetImageList:
    """Names and checksums, so that an upload that was cut off goes on where it stopped."""
    found = await to_thread.run_sync(services.datasets.images, dataset.id, query.limit + 1, query.cursor)
    page = found[: query.limit]
    more = page[-1].name if len(found) > query.limit else None
    return DatasetImageList(images=[_image_view(image) for image in page], next_cursor=more)


@router.put(
    "/datasets/{dataset_id}/images/{name:path}",
    operation_id="put_dataset_image",
    summary="Put an image into a dataset",
    response_model=DatasetImageView,
    status_code=201,
    responses=openapi.PUT_IMAGE_RESPONSES,
    openapi_extra={"requestBody": openapi.RAW_IMAGE_BODY},
    dependencies=[FINETUNE],
)
async def put_dataset_image(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    dataset: DatasetDep,
    name: ImageName,
    query: Annotated[ChecksumQuery, Query()],
) -> Response:
    """The bytes of one image. The same bytes again change nothing (200); other bytes under the name replace it (201).

    A name is free: it may have slashes. What is no image and no archive is refused here; which images training can use
    is told by the fine-tune.
    """
    known = None if query.sha256 is None else await _known(services, dataset, name)
    if known is not None and known.sha256 == query.sha256:
        return JSONResponse(_image_view(known).model_dump(mode="json"), status_code=200)
    with await read_raw(request, "image", services.upload_bytes) as part:
        if part.size == 0:
            raise problems.InvalidRequest("The body is empty; send the bytes of an image, as in curl -T photo.tif.")
        pixels = await services.probes.run(learnable, part)
        image = _Image(name, part, pixels, query.sha256)
        fresh = await to_thread.run_sync(_enter, services, dataset, image, caller.allowance.stored_bytes)
    entered = await to_thread.run_sync(services.datasets.image, dataset.id, name)
    return JSONResponse(_image_view(entered).model_dump(mode="json"), status_code=201 if fresh else 200)


@router.delete(
    "/datasets/{dataset_id}/images/{name:path}",
    operation_id="delete_dataset_image",
    summary="Take an image out of a dataset",
    status_code=204,
    response_class=Response,
    responses=openapi.responses(
        problems.DatasetNotFound, problems.DatasetImageNotFound, problems.DatasetInUse, problems.InvalidRequest
    ),
    dependencies=[FINETUNE],
)
async def delete_dataset_image(services: ServicesDep, dataset: DatasetDep, name: ImageName) -> Response:
    """Remove one image and its bytes. Refused while a job uses the dataset."""
    key = await to_thread.run_sync(services.datasets.delete_image, dataset.id, dataset.tenant, name)
    await to_thread.run_sync(services.blobs.delete, [key])
    return Response(status_code=204)


@router.delete(
    "/datasets/{dataset_id}",
    operation_id="delete_dataset",
    summary="Delete a dataset",
    status_code=204,
    response_class=Response,
    responses=openapi.responses(problems.DatasetNotFound, problems.DatasetInUse, problems.InvalidRequest),
    dependencies=[FINETUNE],
)
async def delete_dataset(services: ServicesDep, dataset: DatasetDep) -> Response:
    """Remove a dataset and all its bytes. Refused while a job uses it; models that were made from it stay."""
    await to_thread.run_sync(_delete, services, dataset)
    return Response(status_code=204)


async def _new_dataset(request: Request) -> NewDataset:
    """What the body says. Read here, once the caller is known: FastAPI reads a body of any size before it asks who."""
    body = await small_body(request, 'Send {"name": "…"}, or nothing; images are put in one by one afterwards.')
    if not body:
        return NewDataset()
    sent = media_type(request)
    if sent != "application/json":
        raise problems.UnsupportedMediaType(
            f"The Content-Type is {sent or 'none'}. Send application/json, or no body at all."
        )
    require_shallow(body)
    try:
        return SENT.validate_json(body) or NewDataset()
    except ValidationError as refused:
        raise RequestValidationError(refused.errors(include_url=False)) from refused


async def _known(services: Services, dataset: Dataset, name: str) -> DatasetImage | None:
    try:
        return await to_thread.run_sync(services.datasets.image, dataset.id, name)
    except ImageNotFound:
        return None


@dataclass(frozen=True, slots=True)
class _Image:
    """One image that arrived, and the checksum that its sender knows, if any."""

    name: str
    part: Part
    pixels: int
    sha256: str | None


def _enter(services: Services, dataset: Dataset, image: _Image, stored_bytes: int | None) -> bool:
    """Store the bytes, then the row; False: they were there already. Raises ChecksumMismatch."""
    part = image.part
    if image.sha256 not in (None, part.sha256()):
        raise problems.ChecksumMismatch(
            f"The bytes have the checksum {part.sha256()}, not the one that was sent with them. Send them again."
        )
    key = f"{dataset_prefix(dataset.id)}/{new_id('img')}"
    services.blobs.put(key, part.content())
    unneeded: str | None = key
    try:
        unneeded = services.datasets.put_image(
            dataset.id, dataset.tenant, image.name, key, part.size, image.pixels, part.sha256(), stored_bytes
        )
    except SQLAlchemyError:
        unneeded = None  # the row may be there, though its answer was lost: the sweep knows later
        raise
    finally:
        if unneeded is not None:
            services.blobs.delete([unneeded])
    services.metrics.observe_upload(part.size)
    return unneeded != key


def _delete(services: Services, dataset: Dataset) -> None:
    services.datasets.delete(dataset.id, dataset.tenant)  # the rows first: no job starts to read bytes that are going
    services.blobs.delete([blob.key for blob in services.blobs.below(dataset_prefix(dataset.id))])


def _view(dataset: Dataset, base: str) -> DatasetView:
    path = f"{base}/datasets/{dataset.id}"
    return DatasetView(
        id=dataset.id,
        name=dataset.name,
        images=dataset.images,
        bytes=dataset.bytes,
        created_at=dataset.created_at,
        expires_at=dataset.expires_at,
        links=DatasetLinks(self=path, images=f"{path}/images"),
    )


def _image_view(image: DatasetImage) -> DatasetImageView:
    facts: dict[str, Any] = {name: getattr(image, name) for name in DatasetImageView.model_fields}
    return DatasetImageView(**facts)
