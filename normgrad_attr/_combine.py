"""Several layers' maps made one: resize, scale each sample to [0, 1], multiply or add, scale again."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from normgrad_attr._extract import accumulation_dtype

COMBINATIONS = ("product", "sum")
_ROUNDING = 32  # in units of the dtype's precision
_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def layer_weights(weights: str | Sequence[float], layers: int) -> list[float]:
    """One weight per layer: ``"uniform"`` (1/L), ``"linear"`` (l / (1 + ... + L)), or the numbers given.

    Raises:
        ValueError: Unknown name, wrong number of weights, one that is negative or not finite, or all zero.
        TypeError: Neither a name nor numbers.
    """
    if isinstance(weights, str):
        if weights == "uniform":
            return [1 / layers] * layers
        if weights == "linear":
            total = layers * (layers + 1) / 2
            return [(i + 1) / total for i in range(layers)]
        raise ValueError(f"Unknown weights {weights!r}; choose 'uniform', 'linear' or one number for each layer.")
    if not isinstance(weights, Iterable):
        raise TypeError(f"Layer weights are a name or one number for each layer, not {weights!r}.")
    numbers = [float(w) for w in weights]
    if len(numbers) != layers:
        raise ValueError(f"{len(numbers)} weights were given for {layers} layers; give one for each.")
    if not all(0 <= w < float("inf") for w in numbers) or not any(numbers):
        raise ValueError(f"Layer weights must be finite, not negative and not all zero, these are {numbers}.")
    return numbers


def minmax(maps: Tensor) -> Tensor:
    """Scale each sample to [0, 1].

    Args:
        maps: (N, ...), float.

    Returns:
        The same shape and dtype; zeros for a sample that is constant up to rounding, and NaN stays in its sample.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import minmax
        >>> minmax(torch.tensor([[1.0, 3.0, 2.0], [7.0, 7.0, 7.0]]))
        tensor([[0.0000, 1.0000, 0.5000],
                [0.0000, 0.0000, 0.0000]])
    """
    flat = maps.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    span, constant = high - low, _constant(low, high)
    return ((flat - low) / torch.where(constant, 1.0, span)).masked_fill(constant, 0.0).view_as(maps)


def _constant(low: Tensor, high: Tensor) -> Tensor:
    """Whether values between two finite ends differ by no more than the rounding of a sum over channels."""
    # Maps are computed in float32 at least, and half precision only rounds them at the end.
    eps = torch.finfo(torch.promote_types(low.dtype, torch.float32)).eps
    span = high - low
    return span.isfinite() & (span <= _ROUNDING * eps * torch.maximum(low.abs(), high.abs()))


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    r"""Interpolate ``maps`` (N, C, \*spatial) linearly to ``size``, ``align_corners=False``.

    Raises:
        ValueError: Not 1 to 3 spatial dimensions, or another number than ``size`` has.
    """
    dims = maps.dim() - 2
    if dims not in _INTERPOLATION or dims != len(size):
        raise ValueError(
            f"A map of shape {tuple(maps.shape)} cannot be resized to {tuple(size)}: choose layers with as many "
            "spatial dimensions as the input (1 to 3); tokens need tokens_to_map."
        )
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode=_INTERPOLATION[dims], align_corners=False)


def combine_maps(
    maps: Sequence[Tensor],
    output_size: Sequence[int],
    *,
    combine: str = "product",
    weights: str | Sequence[float] = "uniform",
) -> Tensor:
    r"""Combine the maps of several layers into one.

    Each map is resized linearly to ``output_size`` and scaled to [0, 1] sample by sample; the scaled maps are
    multiplied after being raised to their weights (``"product"``), or added after being multiplied by them
    (``"sum"``), and the result is scaled to [0, 1] again (Rebuffi et al., CVPR 2020).

    A sample's map that is constant up to rounding says nothing of where; it is left out of that sample's product, with
    a warning.

    Args:
        maps: One (N, 1, \*spatial) per layer, float; resolutions may differ.
        output_size: Spatial size of the result.
        combine: ``"product"`` or ``"sum"``.
        weights: ``"uniform"``, ``"linear"`` (later layers more) or one number for each layer, used as given.

    Returns:
        (N, 1, \*output_size) in [0, 1], float32, or float64 if the maps are.

    Raises:
        ValueError: Unknown combination or weights, no maps, or maps that cannot be resized.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import combine_maps
        >>> combine_maps([torch.rand(2, 1, 8, 8), torch.rand(2, 1, 4, 4)], (16, 16)).shape
        torch.Size([2, 1, 16, 16])
    """
    check_combination(combine)
    if not maps:
        raise ValueError("There are no maps to combine; give at least one layer.")
    powers = layer_weights(weights, len(maps))
    scaled = [minmax(resize(accumulation_dtype(m), output_size)) for m in maps]
    constant = torch.stack([m.detach().flatten(1).amax(1) == 0 for m in scaled])  # else the largest value is 1
    nonfinite = torch.stack([~m.detach().flatten(1).isfinite().all(1) for m in maps])
    _warn(nonfinite, "has values that are not finite", "its combined map is not a number; look at the model's output")
    _warn(constant, "is constant", "it says nothing of where and is left out")
    if combine == "sum":
        total = torch.zeros_like(scaled[0])
        for m, w in zip(scaled, powers, strict=True):
            total = total + w * m
        return minmax(total)
    product = torch.ones_like(scaled[0])
    for m, w, left_out in zip(scaled, powers, constant, strict=True):
        factor = _power(m, w)
        if left_out.any():
            factor = torch.where(left_out.view(-1, *[1] * (m.dim() - 1)), 1.0, factor)
        product = product * factor
    return minmax(product)


def check_combination(combine: str) -> None:
    """Raise ValueError, naming the choices, unless ``combine`` is a combination."""
    if combine not in COMBINATIONS:
        raise ValueError(f"Unknown combination {combine!r}; choose 'product' or 'sum'.")


def _power(m: Tensor, w: float) -> Tensor:
    if w == 1:
        return m
    if not m.requires_grad:
        # The usual weight of four layers; two roots take a fifth of the time of one power.
        return m.sqrt().sqrt_() if w == 0.25 else m.pow(w)
    # The derivative of 0 ** w is infinite for w < 1 and would spoil a double backward.
    alive = m != 0
    return torch.where(alive, m, 1.0).pow(w) * (alive if w > 0 else 1.0)


def _warn(flags: Tensor, what: str, consequence: str) -> None:
    for layer, samples in enumerate(flags.sum(1).tolist()):
        if samples:
            warnings.warn(
                f"The map of layer {layer} (counted from 0) {what} for {samples} of {flags.shape[1]} samples: "
                f"{consequence}.",
                stacklevel=3,
            )
