"""Overlays of maps on images, as matplotlib figures.

Captum's ``captum.attr.visualization`` takes NumPy arrays (H, W, C) and fails on a constant or NaN map; this takes
what the attributions return as it is, and images as they come. Needs matplotlib, which captum installs; it is imported
when a figure is drawn, and no global state of pyplot is touched.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from normgrad_attr._combine import is_constant
from normgrad_attr._extract import check_tensors

__all__ = ["heat", "overlay"]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image

    Picture = Tensor | NDArray[Any] | Image
    Map = Tensor | NDArray[Any]

_PIL_MODES = ("L", "RGB", "F", "I", "I;16")  # those that NumPy understands as they are


def overlay(
    images: Picture | Sequence[Picture],
    maps: Map | Sequence[Map] | Mapping[str, Map],
    *,
    titles: Sequence[str] | None = None,
    alpha: float = 0.5,
    cmap: str | None = None,
    outliers: float = 0.0,
    size: float = 2.5,
) -> Figure:
    r"""Draw images, and maps laid over them, one row per sample.

    Maps of any resolution are resized to the image. Each is scaled by itself from its minimum to its maximum; one with
    negative values (``aggregate="sum"`` or ``"max"``) symmetrically about zero, in diverging colours. A constant map is
    drawn in one colour, and values that are not finite are left out, so that the image shows through; the title says
    so in both cases.

    Args:
        images: (N, C, H, W), (C, H, W) or (H, W) with C of 1 or 3, any real dtype, on any device; NumPy arrays also
            with their channels last; PIL images; or a list of images of one size. Each is scaled from its minimum to
            its maximum, so normalised ones will do.
        maps: (N, 1, h, w), (1, h, w) or (h, w), as the attributions return; arrays also with their channels last.
            Several channels are summed. Or several of these, one column each: a list, as several layers give it, or by
            name.
        titles: One for each row.
        alpha: Opacity of the maps.
        cmap: Name of a matplotlib colour map. Default: ``"inferno"``, ``"RdBu_r"`` for maps with negative values.
        outliers: Part of a map's values, in [0, 1), that is cut off at the top (and with negative values at the
            bottom) of the colour scale.
        size: Height and width of a panel in inches.

    Returns:
        A figure with its own canvas, for ``figure.savefig("overlay.png")``; notebooks display it.

    Raises:
        ValueError: Shapes that are no images or maps, or as many maps as there are not images.
        TypeError: Images or maps of another type.

    Examples:
        >>> import torch
        >>> from normgrad_attr.visualize import overlay
        >>> figure = overlay(torch.rand(2, 3, 64, 64), {"NormGrad": torch.rand(2, 1, 7, 7)})
        >>> len(figure.axes)
        4
    """
    from matplotlib.figure import Figure

    pictures = _images(images)
    if isinstance(maps, (list, tuple)):
        maps = {f"map {i}": m for i, m in enumerate(maps, start=1)}
    named = dict(maps) if isinstance(maps, Mapping) else {"": maps}
    if not named:
        raise ValueError("There are no maps to lay over the images; give at least one.")
    columns = {name: _maps(name, m, pictures) for name, m in named.items()}
    if isinstance(titles, str) or (titles is not None and len(titles) != len(pictures)):
        given = "one string" if isinstance(titles, str) else len(titles)
        raise ValueError(f"titles has {given} for {len(pictures)} images; give a list with one for each.")
    rows, cols = len(pictures), 1 + len(columns)
    figure = Figure(figsize=(size * cols, size * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, cols, squeeze=False)
    for row, picture in enumerate(pictures):
        _draw_image(axes[row][0], picture, titles[row] if titles is not None else "")
        for col, (name, column) in enumerate(columns.items(), start=1):
            _draw_image(axes[row][col], picture, "")
            _draw_map(axes[row][col], column[row], name if row == 0 else "", alpha, cmap, outliers)
    return figure


def heat(
    values: Tensor, *, alpha: float = 0.5, cmap: str | None = None, outliers: float = 0.0, fade: bool = False
) -> Tensor:
    r"""Colours of one map, to be laid over its image: what :func:`overlay` draws, for figures of one's own.

    Args:
        values: (height, width), any real dtype, on any device.
        alpha: Opacity, in [0, 1].
        cmap: Name of a matplotlib colour map. Default: ``"inferno"``, ``"RdBu_r"`` for maps with negative values.
        outliers: Part of the values, in [0, 1), that is cut off at the top (and with negative values at the bottom) of
            the scale. A map whose other values are all alike keeps its top.
        fade: Let the opacity rise with the root of the value, from 0 at the minimum to ``alpha``, so that the image is
            hidden only where the map is high. The scale then starts at the minimum for maps with negative values too,
            and a constant map is not seen.

    Returns:
        Red, green, blue and opacity, (height, width, 4) uint8 on the CPU, as ``imshow`` takes them. Values that are
        not finite have no opacity; a constant map (:func:`~normgrad_attr.functional.is_constant`) has the colour of
        the minimum.

    Raises:
        ValueError: Another shape, or an ``outliers`` outside of [0, 1).
        TypeError: Something else than a tensor.

    Examples:
        >>> import torch
        >>> from normgrad_attr.visualize import heat
        >>> heat(torch.tensor([[0.0, 1.0]]), alpha=1.0, fade=True)
        tensor([[[  0,   0,   3,   0],
                 [252, 254, 164, 255]]], dtype=torch.uint8)
    """
    import matplotlib as mpl

    check_tensors(values)
    if values.dim() != 2:
        raise ValueError(f"A map to be coloured has shape (H, W), this one {tuple(values.shape)}.")
    if not 0 <= outliers < 1:
        raise ValueError(f"outliers is a part of the values in [0, 1), not {outliers}.")
    plane = values.detach().cpu().double().numpy()
    there = np.isfinite(plane)
    finite = plane[there]
    signed = not fade and bool((finite < 0).any())
    unit = np.zeros_like(plane)
    if finite.size and not is_constant(torch.from_numpy(finite)[None]):
        size = abs(finite) if signed else finite
        low, high = (0.0 if signed else finite.min()), np.quantile(size, 1 - outliers)
        high = high if high > low else size.max()
        low = -high if signed else low
        unit[there] = np.clip((finite - low) / (high - low), 0, 1)
    colours = mpl.colormaps[cmap or ("RdBu_r" if signed else "inferno")](unit, bytes=True)
    opacity = 255 * alpha * (np.sqrt(unit) if fade else np.ones_like(unit))
    colours[..., 3] = np.where(there, opacity.round(), 0)
    return torch.from_numpy(colours)


def _images(images: Any) -> Tensor:
    """(N, H, W, 3) float in [0, 1]."""
    if isinstance(images, (list, tuple)):
        parts = [_images_as_given(one) for one in images]
        if len({p.shape[1:] for p in parts}) != 1:
            raise ValueError(
                "A list of images holds at least one, and all have the same shape, these "
                f"{[tuple(p.shape[1:]) for p in parts]}; resize them first."
            )
        batch = torch.cat(parts)
    else:
        batch = _images_as_given(images)
    if batch.dim() != 4 or batch.shape[1] not in (1, 3) or batch.numel() == 0:
        raise ValueError(
            f"Images have shape (N, 3, H, W), (3, H, W) or (H, W), or one channel, these "
            f"{tuple(getattr(images, 'shape', batch.shape))}."
        )
    batch = batch.nan_to_num(0.0, 0.0, 0.0)
    low, high = batch.flatten(1).amin(1), batch.flatten(1).amax(1)
    span = torch.where(high > low, high - low, 1.0)
    scaled = (batch - low.view(-1, 1, 1, 1)) / span.view(-1, 1, 1, 1)
    return scaled.expand(-1, 3, -1, -1).movedim(1, -1)


def _images_as_given(image: Any) -> Tensor:
    """One image, or a batch of them, as (N, C, H, W)."""
    pil = sys.modules.get("PIL.Image")  # without it there are no such images
    if pil is not None and isinstance(image, pil.Image):
        image = np.asarray(image if image.mode in _PIL_MODES else image.convert("RGB"))
    return _batch(image, "Images are tensors, NumPy arrays or PIL images")


def _batch(values: Any, types: str) -> Tensor:
    """As float (N, C, H, W), if there are that many dimensions."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        if values.ndim in (3, 4) and values.shape[-1] in (1, 3):
            if values.shape[-3] in (1, 3):
                raise ValueError(
                    f"An array of shape {values.shape} may have its channels first or last; pass a tensor (N, C, H, W)."
                )
            values = np.moveaxis(values, -1, -3)
        values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
    if not isinstance(values, Tensor) or values.is_complex():
        kind = f"{values.dtype} {type(values).__name__}" if hasattr(values, "dtype") else type(values).__name__
        raise TypeError(f"{types} of real numbers, not {kind}; convert them first.")
    batch = values.detach().cpu().float()
    return batch[None, None] if batch.dim() == 2 else batch[None] if batch.dim() == 3 else batch


def _maps(name: str, maps: Any, pictures: Tensor) -> Tensor:
    """(N, H, W) float at the size of the images; NaN where a map is not finite."""
    batch = _batch(maps, f"Maps{' ' * bool(name)}{name} are tensors or NumPy arrays")
    # A map is (1, h, w), but maps of several samples without their channel look the same.
    if batch.dim() == 4 and len(batch) == 1 and maps.ndim == 3 and len(pictures) == maps.shape[0] > 1:
        batch = batch.movedim(1, 0)
    if batch.dim() != 4 or len(batch) != len(pictures) or batch.numel() == 0:
        raise ValueError(
            f"Maps{' ' * bool(name)}{name} of shape {tuple(maps.shape)} do not belong to {len(pictures)} images; they "
            "have shape (N, 1, h, w), (1, h, w) or (h, w), tokens after tokens_to_map."
        )
    batch = batch.sum(1, keepdim=True)
    finite = batch.isfinite()
    size = tuple(pictures.shape[1:3])
    values = F.interpolate(torch.where(finite, batch, 0.0), size, mode="bilinear", align_corners=False)
    holes = F.interpolate((~finite).float(), size, mode="nearest") > 0
    # An interpolated neighbour of a hole would be mixed with the zero that stands in for it, but stays finite.
    return torch.where(holes, torch.nan, values)[:, 0]


def _draw_image(axes: Axes, picture: Tensor, title: str) -> None:
    axes.imshow(picture.numpy())
    axes.set_title(title, fontsize="small")
    axes.set_axis_off()


def _draw_map(axes: Axes, values: Tensor, title: str, alpha: float, cmap: str | None, outliers: float) -> None:
    finite = values[values.isfinite()]
    notes = []
    if len(finite) and is_constant(finite[None]):
        notes.append("constant")
    if len(finite) < values.numel():
        notes.append("not finite" if not len(finite) else "partly not finite")
    axes.imshow(heat(values, alpha=alpha, cmap=cmap, outliers=outliers).numpy())
    axes.set_title(f"{title} ({', '.join(notes)})".strip() if notes else title, fontsize="small")
