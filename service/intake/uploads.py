"""What arrived, looked at: the one image of a request, and the header of any file. No pixel is decoded here."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager

from fastapi import Request

from images.probe import READ_FORMATS, ImageError, ImageInfo, Limits, sniff_archive
from service.http import problems
from service.http.problem import Problem
from service.intake.body_limit import ARCHIVE_TYPES, too_large
from service.intake.fields import Given, refused_field
from service.intake.parts import Expected, Part, media_type, read_files

HEAD_BYTES = 512
"""How much of a file tells an archive."""

IMAGES = (
    "Send multipart/form-data with a file field `image` (curl -F image=@photo.png), or the bytes of a "
    f"{READ_FORMATS} file with its media type. A batch comes as several fields `images`, or as a zip or tar."
)


@asynccontextmanager
async def receive_upload(
    request: Request, given: Given, max_bytes: int, keep: Callable[[Part], Awaitable[None]]
) -> AsyncIterator[Part | None]:
    """The one image of a request, from a multipart field `image` or the raw body; its other fields go to `given`.

    None: it is a batch, fields `images` or an archive; each of its files was given to `keep` as it came.

    Raises:
        ContentTooLarge: an image has more bytes than `max_bytes`.
        InvalidRequest: no image, several fields `image`, both fields, or a field that is refused.
        UnsupportedMediaType: neither multipart nor a media type of an image or archive.
    """
    expected = Expected("image", ARCHIVE_TYPES, IMAGES, max_bytes, many="images")
    image: Part | None = None
    batch = False
    with ExitStack() as opened:
        async with aclosing(read_files(request, expected, given)) as parts:
            async for part in parts:
                if part.name == "images" or _archived(request, part):
                    with part:
                        if image is not None:
                            raise _not_both()
                        batch = True
                        await keep(part)
                    continue
                opened.enter_context(part)
                if batch:
                    raise _not_both()
                if image is not None:
                    raise _not_one()
                image = part
        if batch:
            yield None
            return
        if image is None:
            raise _not_one()
        if image.size == 0 and media_type(request) != "multipart/form-data":
            raise refused_field(
                "body", "the body is empty; send the bytes of an image, as in curl --data-binary @photo.png"
            )
        if image.size == 0:
            raise refused_field("image", "the file is empty")
        if image.size > max_bytes:  # sent with an archive's media type, and none
            raise too_large(max_bytes, image.size)
        yield image


def _archived(request: Request, part: Part) -> bool:
    """Whether a raw body is an archive. What counts is the content; a form says `images`."""
    return media_type(request) != "multipart/form-data" and sniff_archive(part.head(HEAD_BYTES)) is not None


def probed(part: Part, limits: Limits) -> ImageInfo:
    """What the header of an image says. Blocking.

    Raises:
        UnsupportedMediaType, BrokenImage, ImageTooLarge: with the remedy in the text.
    """
    try:
        return part.probe(limits)
    except ImageError as error:
        raise _refusal(error.code, str(error), limits) from error


def require_result_fits(info: ImageInfo, target: str, limits: Limits) -> None:
    """Refuse a stack as a file of a format that is written at once, if it is too large for that.

    Args:
        info: the upload with the result's size.
        target: the result's format.

    Raises:
        ImageTooLarge: with the remedy in the text.
    """
    try:
        limits.check_result(info, target)
    except ImageError as error:
        raise _refusal(error.code, str(error), limits) from error


def learnable(part: Part, limits: Limits) -> int:
    """Pixels of an image by its header, 0 for an archive. Blocking. Raises as `probed` for what is neither."""
    return 0 if sniff_archive(part.head(HEAD_BYTES)) is not None else probed(part, limits).pixels


def looked_at(part: Part, limits: Limits) -> tuple[bool, int]:
    """(is it an archive, pixels by its header: 0 if it is no image). Blocking."""
    if sniff_archive(part.head(HEAD_BYTES)) is not None:
        return True, 0
    try:
        return False, part.probe(limits).pixels
    except ImageError:
        return False, 0


def _not_one() -> problems.InvalidRequest:
    return refused_field("image", "exactly one file is needed here, as in curl -F image=@photo.png")


def _not_both() -> problems.InvalidRequest:
    return refused_field("images", "send one `image`, or a batch of `images`, and not both")


def _refusal(code: str, message: str, limits: Limits) -> Problem:
    """The problem for an `ImageError`, with the settings named that decide."""
    if code == "image_too_large":
        return problems.ImageTooLarge(
            f"{message} Crop, bin or split the image, or ask the operator to raise the settings: images are "
            f"limited to B2S_MAX_PIXELS = {limits.max_pixels:,}, files to B2S_MAX_UPLOAD_BYTES = {limits.max_bytes:,}."
        )
    if code == "unsupported_format":
        return problems.UnsupportedMediaType(f"{message} What counts is the content, not the name or declared type.")
    return problems.BrokenImage(f"{message} Open the file in a viewer and save it again.")
