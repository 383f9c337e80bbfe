"""Problems as pages, for whoever follows a `type` or a link with a browser."""

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from service.http.preferences import weight_of
from service.http.problem import MEDIA_TYPE, Problem
from service.services import link_base

TEMPLATE = Path(__file__).parents[1] / "static" / "problem.html"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def wants_page(request: Request) -> bool:
    """Whether the request prefers a page to a document: a browser's address bar does, scripts and curl do not."""
    accept = request.headers.get("accept")
    documents = ("application/json", MEDIA_TYPE)
    return weight_of(accept, "text/html") > max(weight_of(accept, kind) for kind in documents)


def occurrence(request: Request, document: Mapping[str, Any], headers: Mapping[str, str] | None) -> HTMLResponse:
    """One problem that occurred: what went wrong, what to do, and where the kind is explained."""
    errors = document.get("errors") or []
    listed = "".join(f"<li><code>{escape(e['field'])}</code>: {escape(e['message'])}</li>" for e in errors)
    kind, base = escape(document["type"]), escape(link_base(request))
    body = (
        f"<p>{escape(document['detail'])}</p>{f'<ul>{listed}</ul>' if listed else ''}"
        f'<p class="quiet">What <a href="{base}{kind}">{kind}</a> means · request {escape(document["request_id"])}</p>'
    )
    status = int(document["status"])
    return _page(request, document["title"], f"HTTP {status}", body, status, headers)


def kind_page(request: Request, kind: type[Problem]) -> HTMLResponse:
    """What one kind of problem means."""
    body = f"<p>{escape(kind.meaning())}</p><p class=quiet>type <code>{escape(kind.type_uri())}</code></p>"
    return _page(request, kind.title, f"HTTP {kind.status}", body)


def kinds_page(request: Request, kinds: Iterable[type[Problem]]) -> HTMLResponse:
    """All kinds, by status."""
    base = escape(link_base(request))
    listed = "".join(
        f'<dt><a href="{base}{escape(kind.type_uri())}">{escape(kind.title)}</a> '
        f'<span class="quiet">{kind.status}</span></dt><dd>{escape(kind.meaning())}</dd>'
        for kind in sorted(kinds, key=lambda kind: (kind.status, kind.slug))
    )
    above = "Every `type` that an error of this API can have"
    return _page(request, "Problems", above, f"<dl>{listed}</dl>")


def _page(
    request: Request, title: str, above: str, body: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    values = {"title": title, "above": above, "base": link_base(request)}
    values["static"] = request.scope.get("root_path", "") + "/static"
    page = TEMPLATE.read_text("utf-8")
    for name, value in values.items():
        page = page.replace(f"{{{name}}}", escape(value))
    own = {"Content-Security-Policy": POLICY, "Vary": "Accept"}
    return HTMLResponse(page.replace("{body}", body), status_code=status, headers={**(headers or {}), **own})
