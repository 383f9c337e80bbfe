"""What a client asks of the answer rather than of the job: how long to wait (RFC 7240) and in which form (RFC 9110)."""

import re

WAIT = re.compile(r"(?:^|[,;])\s*wait\s*(?:=\s*\"?(\d{1,6})\"?)?\s*(?=$|[,;])", re.IGNORECASE)


def wait_seconds(query: float | None, prefer: str | None, bound: float) -> float | None:
    """Seconds to hold the request, at most `bound`; None if the client did not ask.

    The query wins over `Prefer: wait=N`. A bare `Prefer: wait` waits as long as the server lets it. As RFC 7240 asks, a
    preference that cannot be read is ignored.
    """
    if query is not None:
        return min(query, bound)
    found = WAIT.search(prefer or "")
    if found is None:
        return None
    return min(float(found[1]), bound) if found[1] else bound


def weight_of(accept: str | None, media_type: str) -> float:
    """The weight that an `Accept` header gives to a media type: 0 refused, 1 best. No header accepts everything."""
    if not accept:
        return 1.0
    best_match, best_quality = 0, 0.0
    wanted = media_type.split("/")[0] + "/*"
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        match = {media_type: 3, wanted: 2, "*/*": 1}.get(name, 0)
        if match > best_match:
            best_match, best_quality = match, _weight(parameters)
    return best_quality


def asks_for_images(accept: str | None) -> bool:
    """Whether an `Accept` header wants some kind of image by name."""
    items = [item.strip().lower().split(";") for item in (accept or "").split(",")]
    return any(name.startswith("image/") and _weight([p.strip() for p in rest]) > 0 for name, *rest in items)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
