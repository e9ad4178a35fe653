"""Saliency maps on their way into the frame of 600 x 600 pixels in which all methods are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from normgrad_attr import smooth as gaussian_smooth

FRAME = 600
"""Side of the square frame onto which films, annotations and maps are stretched."""


@dataclass(frozen=True)
class Stretched:
    """N maps in the frame.

    Attributes:
        planes: float64 ``(N, frame, frame)``, each map scaled to [0, 1]; zeros for a map that is
            constant or not finite.
        finite: bool ``(N,)``, False when the map holds a NaN or an infinity.
        constant: bool ``(N,)``, True when the map is finite and has one value only.
        zero: float64 ``(N,)``, where the value 0 of the map lies on the scale of its plane; 0 for a map that is
            constant or not finite.
    """

    planes: np.ndarray
    finite: np.ndarray
    constant: np.ndarray
    zero: np.ndarray


def stretch(maps: Tensor, frame: int = FRAME, *, smooth: bool = False) -> Stretched:
    """Stretch maps onto the frame, bilinear with ``align_corners=False``.

    Args:
        maps: ``(N, 1, h, w)``, any float dtype and size.
        frame: side of the frame in pixels.
        smooth: smooth in the frame, as Ozer and Oksuz did: a Gaussian of sigma 1 px in a window of 11 px.

    Returns:
        The maps in the frame, and which were finite and constant before.
    """
    if maps.ndim != 4 or maps.shape[1] != 1:
        raise ValueError(f"maps must have the shape (N, 1, h, w), not {tuple(maps.shape)}")
    maps = maps.detach().cpu().double()
    finite = torch.isfinite(maps).flatten(1).all(dim=1)
    maps = torch.where(finite.view(-1, 1, 1, 1), maps, torch.zeros_like(maps))
    low, high = (ends.view(-1, 1, 1, 1) for ends in maps.flatten(1).aminmax(dim=1))
    constant = finite & (low == high).flatten()
    zero = _scale(torch.zeros_like(low), low, high).flatten().where(~constant, 0.0)
    maps = F.interpolate(_scale(maps, low, high), size=(frame, frame), mode="bilinear", align_corners=False)
    if smooth:
        maps = gaussian_smooth(maps, sigma=1.0, kernel_size=11)
    return Stretched(maps[:, 0].numpy(), finite.numpy(), constant.numpy(), zero.numpy())


def clip_at_percentile(maps: Tensor, percentile: float = 99.0) -> Tensor:
    """Clip each map from above at its own percentile and scale it to [0, 1].

    This is the published post-processing of gradient methods. A map without any spread below
    its percentile becomes zero everywhere; a map that is not finite becomes NaN.

    Args:
        maps: ``(N, 1, h, w)``, any float dtype.
        percentile: between 0 and 100, interpolated linearly between the two nearest values.

    Returns:
        float64 ``(N, 1, h, w)`` on the CPU.
    """
    maps = maps.detach().cpu().double()
    flat = maps.flatten(1)
    # One quantile call a map: torch limits the size of a single call to 16 million values.
    high = torch.stack([row.quantile(percentile / 100) for row in flat]).view(-1, 1, 1, 1)
    low = flat.amin(dim=1).view(-1, 1, 1, 1)
    finite = flat.isfinite().all(dim=1).view(-1, 1, 1, 1)
    return _scale(torch.minimum(maps, high), low, high).where(finite, torch.nan)


def _scale(maps: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Scale [low, high] to [0, 1]; zeros where the two are equal."""
    spread = high - low
    return (maps - low) / torch.where(spread == 0, torch.ones_like(spread), spread)
