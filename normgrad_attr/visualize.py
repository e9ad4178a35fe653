"""Overlays of maps on images, as matplotlib figures.

Captum's ``captum.attr.visualization`` takes NumPy arrays (H, W, C) and fails on a constant or NaN map; this takes
the tensors that the attributions return, as they are. Needs matplotlib, which captum installs; it is imported when a
figure is drawn, and no global state of pyplot is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from normgrad_attr._combine import is_constant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def overlay(
    images: Tensor,
    maps: Tensor | Mapping[str, Tensor],
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
        images: (N, C, H, W), (C, H, W) or (H, W) with C of 1 or 3, any real dtype, on any device. Each is scaled
            from its minimum to its maximum, so normalised ones will do.
        maps: (N, 1, h, w), (1, h, w) or (h, w), as the attributions return; maps of several channels are summed over
            them. Or several of them by name, one column each.
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

    Examples:
        >>> import torch
        >>> from normgrad_attr.visualize import overlay
        >>> figure = overlay(torch.rand(2, 3, 64, 64), {"NormGrad": torch.rand(2, 1, 7, 7)})
        >>> len(figure.axes)
        4
    """
    from matplotlib.figure import Figure

    pictures = _images(images)
    named = dict(maps) if isinstance(maps, Mapping) else {"": maps}
    columns = {name: _maps(name, m, pictures) for name, m in named.items()}
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"{len(titles)} titles were given for {len(pictures)} images; give one for each.")
    if not 0 <= outliers < 1:
        raise ValueError(f"outliers is a part of the values in [0, 1), not {outliers}.")
    rows, cols = len(pictures), 1 + len(columns)
    figure = Figure(figsize=(size * cols, size * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, cols, squeeze=False)
    for row, picture in enumerate(pictures):
        _draw_image(axes[row][0], picture, titles[row] if titles is not None else "")
        for col, (name, column) in enumerate(columns.items(), start=1):
            _draw_image(axes[row][col], picture, "")
            _draw_map(axes[row][col], column[row], name if row == 0 else "", alpha, cmap, outliers)
    return figure


def _images(images: Tensor) -> Tensor:
    """(N, H, W, 3) float in [0, 1]."""
    batch = images.detach().cpu().float()
    batch = batch[None, None] if batch.dim() == 2 else batch[None] if batch.dim() == 3 else batch
    if batch.dim() != 4 or batch.shape[1] not in (1, 3) or batch.numel() == 0:
        raise ValueError(
            f"Images have shape (N, 3, H, W), (3, H, W) or (H, W), or one channel, these {tuple(images.shape)}."
        )
    batch = batch.nan_to_num(0.0, 0.0, 0.0)
    low, high = batch.flatten(1).amin(1), batch.flatten(1).amax(1)
    span = torch.where(high > low, high - low, 1.0)
    scaled = (batch - low.view(-1, 1, 1, 1)) / span.view(-1, 1, 1, 1)
    return scaled.expand(-1, 3, -1, -1).movedim(1, -1)


def _maps(name: str, maps: Tensor, pictures: Tensor) -> Tensor:
    """(N, H, W) float at the size of the images; NaN where a map is not finite."""
    batch = maps.detach().cpu().float()
    batch = batch[None, None] if batch.dim() == 2 else batch[None] if batch.dim() == 3 else batch
    # A map is (1, h, w), but maps of several samples without their channel look the same.
    if batch.dim() == 4 and len(batch) == 1 and maps.dim() == 3 and len(pictures) == maps.shape[0] > 1:
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
    low, high, signed = 0.0, 1.0, False
    if len(finite):
        signed = bool((finite < 0).any())
        high = float(finite.abs().double().quantile(1 - outliers) if signed else finite.double().quantile(1 - outliers))
        low = -high if signed else float(finite.min())
        if is_constant(finite[None]):
            high = -low if signed else low
            notes.append("constant")
    if len(finite) < values.numel():
        notes.append("not finite" if not len(finite) else "partly not finite")
    options: dict[str, Any] = {"cmap": cmap or ("RdBu_r" if signed else "inferno"), "alpha": alpha}
    axes.imshow(values.numpy(), vmin=low, vmax=high if high > low else low + 1, **options)
    axes.set_title(f"{title} ({', '.join(notes)})".strip() if notes else title, fontsize="small")
