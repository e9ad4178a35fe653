"""Gaussian smoothing of maps."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from normgrad_attr._extract import accumulation_dtype, check_tensors

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def smooth(maps: Tensor, sigma: float, kernel_size: int | None = None) -> Tensor:
    r"""Smooth maps with a Gaussian, the border reflected.

    Args:
        maps: (N, C, \*spatial) with 1 to 3 spatial dimensions, any floating dtype.
        sigma: Standard deviation in pixels of the map.
        kernel_size: Odd width of the Gaussian along each dimension, in pixels of the map. Default: five standard
            deviations to either side, 11 for ``sigma=1`` (as Ozer and Oksuz, MIDL 2021, smoothed), or as many as a
            small map can reflect.

    Returns:
        Same shape and dtype. The kernel sums to one, so the maps stay in their range.

    Raises:
        ValueError: Sigma not positive, an even kernel, or one that reaches further than a map can be reflected.
        TypeError: Something else than a tensor.

    Examples:
        >>> import torch
        >>> from normgrad_attr import smooth
        >>> smooth(torch.rand(2, 1, 32, 32), sigma=1.0).shape
        torch.Size([2, 1, 32, 32])
    """
    check_tensors(maps)
    dims = maps.dim() - 2
    if dims not in _CONV:
        raise ValueError(f"Maps to smooth have shape (N, C, *spatial), these {tuple(maps.shape)}.")
    check_sigma(sigma)
    furthest = min(maps.shape[2:]) - 1
    if kernel_size is None:
        radius = min(math.ceil(5 * sigma), furthest)
    elif kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, not {kernel_size}.")
    else:
        radius = kernel_size // 2
    if radius > furthest:
        raise ValueError(
            f"A kernel of {kernel_size} reaches further than maps of shape {tuple(maps.shape)} can be reflected; use "
            f"at most {2 * furthest + 1}, or smooth after resizing."
        )
    smoothed = accumulation_dtype(maps)
    offsets = torch.arange(-radius, radius + 1, dtype=smoothed.dtype, device=maps.device)
    kernel = (-0.5 * (offsets / sigma) ** 2).softmax(0)
    smoothed = F.pad(smoothed, [radius] * (2 * dims), mode="reflect")
    channels = maps.shape[1]
    for dim in range(dims):
        shape = [-1 if d == dim else 1 for d in range(dims)]
        weight = kernel.view(1, 1, *shape).expand(channels, 1, *[len(kernel) if s == -1 else 1 for s in shape])
        with torch.autocast(maps.device.type, enabled=False):
            smoothed = _CONV[dims](smoothed, weight, groups=channels)
    return smoothed.to(maps.dtype)


def check_sigma(sigma: float) -> None:
    """Raise ValueError unless ``sigma`` is a standard deviation."""
    if not 0 < sigma < math.inf:
        raise ValueError(f"The standard deviation of a smoothing must be positive and finite, not {sigma}.")
