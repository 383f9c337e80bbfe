"""What can be wrong with an image, in the words of the person who sent it.

    ImageError
    ├── UnsupportedFormat   not an image, or a kind of image that is not read or written here
    ├── BrokenImage         starts like an image, but is cut off, contradicts itself or crashes its decoder
    ├── ImageTooLarge       whole, but over a limit; the text names the limit and its value
    ├── BrokenArchive       no archive of images that is read here: damaged, or built to do harm
    ├── ArchiveTooLarge     unpacks to more than is taken
    ├── RegionOutside       the region asked for does not lie inside the image
    └── RegionSplitsMosaic  or begins inside a block of a raw mosaic

    DecoderKilled           no `ImageError`: the file may be well, but the system ended whoever read it

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


class BrokenArchive(ImageError):
    """Not a zip or tar, damaged, or made to do harm."""

    code = "broken_archive"


class ArchiveTooLarge(ImageError):
    """It unpacks to more than is taken; the text names the setting."""

    code = "archive_too_large"


class ImageTooLarge(ImageError):
    """The file is over one of the limits of `images.limits.Limits`."""

    code = "image_too_large"


class RegionOutside(ImageError):
    """A region of interest that does not lie inside the image."""

    code = "roi_outside_image"


class RegionSplitsMosaic(ImageError):
    """A region of interest that begins inside a block of a raw mosaic."""

    code = "roi_splits_mosaic"


class DecoderKilled(ChildProcessError):
    """Somebody else ended the process that decoded the file, again and again: most often a system out of memory."""
