"""Between napari's layers and the arrays that the service takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari.layers import Image

Array = NDArray[Any]

_LOOK = (
    "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "colormap", "contrast_limits", "gamma",
    "opacity", "blending", "interpolation2d", "interpolation3d", "rendering", "visible",
)  # fmt: skip
"""What a result keeps of how its layer lies and looks."""


def pixels_of(layer: Image) -> Array:
    """The layer's pixels as the service takes them.

    Returns:
        (H, W), (H, W, C), or (N, H, W, C): leading axes (time, depth) become pages, in their order. RGBA is without its
        alpha. Of a multiscale layer the finest.

    Raises:
        ValueError: a boolean, complex or empty layer.
    """
    data = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    if data.dtype.kind not in "uif" or data.size == 0:
        raise ValueError(f"Layer {layer.name} holds {data.dtype} of shape {data.shape}: images of numbers are wanted.")
    pages = data[..., :3] if layer.rgb else data[..., np.newaxis]
    if pages.ndim > 3:
        return np.ascontiguousarray(pages.reshape(-1, *pages.shape[-3:]))
    return np.ascontiguousarray(pages if layer.rgb else pages[..., 0])


def pages_of(layer: Image) -> list[Array]:
    """Each page of the layer, (H, W) or (H, W, 3), in their order, to learn from. Raises as `pixels_of`."""
    pixels = pixels_of(layer)
    pages = list(pixels) if pixels.ndim == 4 else [pixels]
    return [page[..., 0] if page.ndim == 3 and page.shape[-1] == 1 else page for page in pages]


def data_of(result: Array, layer: Image) -> Array:
    """The denoised pixels with the layer's own axes, and its alpha."""
    shape = (layer.data[0] if layer.multiscale else layer.data).shape
    if not layer.rgb:
        return result.reshape(shape)
    colours = result.reshape(*shape[:-1], 3)
    if shape[-1] == 3:
        return colours
    alpha = np.asarray(layer.data[0] if layer.multiscale else layer.data)[..., 3:]
    return np.concatenate([colours, alpha.astype(colours.dtype)], axis=-1)


def look_of(layer: Image, facts: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `Viewer.add_image` for the layer's result, which lies and looks as the layer does."""
    kept = {name: getattr(layer, name) for name in _LOOK if hasattr(layer, name)}
    if layer.rgb:  # colours have none
        for name in ("colormap", "contrast_limits", "gamma"):
            kept.pop(name, None)
    metadata = dict(layer.metadata) | {"b2s": facts}
    return kept | {"name": f"{layer.name} denoised", "rgb": layer.rgb, "metadata": metadata}
