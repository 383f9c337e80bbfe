"""What can be wrong with an image, in the words of the person who sent it.

    ImageError
    ├── UnsupportedFormat   not an image, or a kind of image that is not read or written here
    ├── BrokenImage         starts like an image, but is cut off, contradicts itself or crashes its decoder
    └── ImageTooLarge       whole, but over a limit; the text names the limit and its value

Every message is safe to show to a stranger: no path, no traceback, no library's inner words.
"""

from __future__ import annotations

CONVERT_RAW = (
    "This camera's raw format is not read. Convert the file without loss (Adobe DNG Converter, dnglab) and send "
    "the DNG."
)


class ImageError(ValueError):
    """The image cannot be used; `code` is a stable slug, `str(error)` a sentence for the user."""

    code = "image_error"


class UnsupportedFormat(ImageError):
    """A format, or a variant of one, that is not read (or cannot be written) here."""

    code = "unsupported_format"


class BrokenImage(ImageError):
    """The file is damaged, cut off, or says things about itself that cannot be true."""

    code = "broken_image"


class ImageTooLarge(ImageError):
    """The file is over one of the limits of `images.limits.Limits`."""

    code = "image_too_large"
