"""What a person with a browser finds: where things are, the interactive docs, and what each problem means."""

from importlib.resources import files
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from service.http import openapi, problems
from service.http.problem import Problem
from service.http.problem_pages import kind_page, kinds_page, wants_page
from service.services import BasePath

router = APIRouter(tags=["pages"])

STATIC = FilePath(__file__).parents[1] / "static"
WEB = FilePath(__file__).parents[1] / "web"
WEB_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
DOCS_POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # Swagger UI styles its own elements
        "img-src 'self' data:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)


VARY = {"Vary": "Accept"}

Accept = Annotated[
    str | None, Header(description="A browser, which asks for `text/html`, gets a page.", examples=["application/json"])
]


class Index(BaseModel):
    """Where things are."""

    name: str
    version: str
    docs: str
    openapi: str
    denoise: str
    jobs: str
    models: str
    problems: str
    health: str
    metrics: str


class ProblemKind(BaseModel):
    """One kind of problem."""

    model_config = ConfigDict(title="ProblemKind")

    type: str = Field(examples=["/problems/job-not-found"])
    title: str = Field(examples=["No such job"])
    status: int = Field(examples=[404])
    description: str = Field(description="What it means and what to do.")


class ProblemKinds(BaseModel):
    """All kinds of problems."""

    problems: list[ProblemKind]


@router.get(
    "/",
    operation_id="index",
    summary="Where things are",
    response_model=Index,
    responses=openapi.OPEN_RESPONSES,
)
async def index(request: Request, base: BasePath, accept: Accept = None) -> Response:
    """Links to everything else; for a browser, the page to look at."""
    if wants_page(request):
        root: str = request.scope.get("root_path", "")
        page = (WEB / "index.html").read_text("utf-8").replace("{base}", base).replace("{web}", f"{root}/static/web")
        return HTMLResponse(page, headers={"Content-Security-Policy": WEB_POLICY, "Vary": "Accept"})
    links = Index(
        name=request.app.title,
        version=request.app.version,
        docs=f"{base}/docs",
        openapi=f"{base}/openapi.json",
        denoise=f"{base}/denoise",
        jobs=f"{base}/jobs",
        models=f"{base}/models",
        problems=f"{base}/problems",
        health=f"{base}/readyz",
        metrics=f"{base}/metrics",
    )
    return JSONResponse(links.model_dump(), headers={"Vary": "Accept"})


@router.get(
    "/problems",
    operation_id="list_problems",
    summary="List the kinds of problems",
    response_model=ProblemKinds,
    responses=openapi.OPEN_RESPONSES,
)
async def list_problems(request: Request) -> Response:
    """Every `type` that an error of this API can have; for a browser, as a page."""
    kinds = problems.catalogue().values()
    if wants_page(request):
        return kinds_page(request, kinds)
    return JSONResponse(ProblemKinds(problems=[_kind(kind) for kind in kinds]).model_dump(), headers=VARY)


@router.get(
    "/problems/{slug}",
    operation_id="get_problem",
    summary="What a problem means",
    response_model=ProblemKind,
    responses=openapi.responses(problems.ProblemNotFound, problems.InvalidRequest),
)
async def get_problem(
    request: Request,
    slug: Annotated[str, Path(max_length=100, description="The last part of a `type`.", examples=["job-not-found"])],
) -> Response:
    """What the `type` of a problem document points to; for a browser, as a page."""
    kind = problems.catalogue().get(slug)
    if kind is None:
        raise problems.ProblemNotFound("There is no such kind of problem. GET /problems lists those that exist.")
    if wants_page(request):
        return kind_page(request, kind)
    return JSONResponse(_kind(kind).model_dump(), headers=VARY)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request, base: BasePath) -> Response:
    """Swagger UI, served from here so that it works on machines without internet."""
    root: str = request.scope.get("root_path", "")
    page = (STATIC / "docs.html").read_text().replace("{base}", base).replace("{static}", f"{root}/static")
    return HTMLResponse(page, headers={"Content-Security-Policy": DOCS_POLICY})


@router.get("/openapi.json", include_in_schema=False)
async def openapi_document(request: Request, base: BasePath) -> dict[str, object]:
    """The OpenAPI document; its server is where it was asked for, behind any proxy prefix."""
    document: dict[str, object] = request.app.openapi()
    return document | {"servers": [{"url": base or "/", "description": "This service"}]}


def mount_static(app: FastAPI) -> None:
    """Serve Swagger UI's own files (from the `fastapi-offline` wheel) and ours."""
    app.mount("/static/swagger", StaticFiles(directory=str(files("fastapi_offline") / "static")), name="swagger")
    app.mount("/static/web", StaticFiles(directory=WEB), name="web")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _kind(kind: type[Problem]) -> ProblemKind:
    return ProblemKind(type=kind.type_uri(), title=kind.title, status=kind.status, description=kind.meaning())
