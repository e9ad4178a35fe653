"""Several layers' maps made one: resize, scale each sample to [0, 1], multiply or add, scale again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import reduce
from numbers import Integral
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from normgrad_attr._extract import accumulation_dtype, check_tensors
from normgrad_attr._findings import Findings
from normgrad_attr._warn import warn

Combination = Literal["product", "sum"]
Weights = Sequence[float] | Literal["uniform", "linear"]
_FLAT = 2.0**-16  # 128 roundings of float32
_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def layer_weights(weights: Weights, layers: int) -> list[float]:
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


def is_constant(maps: Tensor) -> Tensor:
    """Whether each sample's map says nothing of where: its values are the same up to rounding.

    They are if they lie within 2^-16, or 0.0015 %, of the largest absolute one. Gradients, activations and maps are
    sums of float32 products, each some roundings of 6e-8 off, and resizing and smoothing add a few more; a real
    difference, however faint, is larger. That a map was converted to float64 since makes it no more exact, so the
    bound is the same for every dtype. Where summands cancel, their noise can be larger than any such bound: the
    aggregates ``sum`` and ``positive_sum`` therefore add in the same order everywhere, so that equal summands
    give equal values.

    Args:
        maps: (N, ...), any floating dtype, one value or more for each sample.

    Returns:
        (N,) bool; False for a map with a value that is not finite.

    Raises:
        TypeError: Something else than a tensor.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import is_constant
        >>> is_constant(torch.tensor([[7.0, 7.000001], [7.0, 7.001], [7.0, torch.nan]]))
        tensor([ True, False, False])
    """
    check_tensors(maps)
    return _constant(*_ends(accumulation_dtype(maps.detach()).flatten(1)))[:, 0]


def minmax(maps: Tensor) -> Tensor:
    """Scale each sample to [0, 1].

    Args:
        maps: (N, ...), float.

    Returns:
        The same shape and dtype; zeros for a sample that is constant (:func:`is_constant`), and NaN stays in its
        sample.

    Raises:
        TypeError: Something else than a tensor.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import minmax
        >>> minmax(torch.tensor([[1.0, 3.0, 2.0], [7.0, 7.0, 7.0]]))
        tensor([[0.0000, 1.0000, 0.5000],
                [0.0000, 0.0000, 0.0000]])
    """
    check_tensors(maps)
    return _minmax(maps)[0]


def _minmax(maps: Tensor, instead: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Each sample scaled to [0, 1], or ``instead``, also (N, 1), where it is constant; and (N,) bool where that is."""
    flat = maps.flatten(1)
    low, high = _ends(flat)
    constant = _constant(low, high)
    # A map may reach from one end of its dtype to the other, and then only halves can be subtracted.
    half = torch.where((high - low).isfinite(), 1.0, 0.5).to(maps.dtype)
    span = torch.where(constant, 1.0, high * half - low * half)
    scaled = torch.where(constant, instead, (flat * half - low * half) / span)
    return scaled.view_as(maps), constant[:, 0]


def _ends(flat: Tensor) -> tuple[Tensor, Tensor]:
    return flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)


def _constant(low: Tensor, high: Tensor) -> Tensor:
    largest = torch.maximum(low.abs(), high.abs())
    # Infinity divided by itself is not a number, and nothing is constant about that.
    return (largest == 0) | (high / largest - low / largest <= _FLAT)


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
    combine: Combination = "product",
    weights: Weights = "uniform",
    evidence: Collection[int] = (),
) -> Tensor:
    r"""Combine the maps of several layers into one.

    Each map is resized linearly to ``output_size`` and scaled to [0, 1] sample by sample; the scaled maps are
    multiplied after being raised to their weights (``"product"``), or added after being multiplied by them
    (``"sum"``), and the result is scaled to [0, 1] again (Rebuffi et al., CVPR 2020).

    A sample's map that is constant (:func:`is_constant`) says nothing of where; it is left out of that sample's
    product, with a warning. But where a map is evidence for a class and zero everywhere, nothing speaks for the class,
    and the product is zero as well.

    Args:
        maps: One (N, 1, \*spatial) per layer, float; resolutions may differ.
        output_size: Spatial size of the result.
        combine: ``"product"`` or ``"sum"``.
        weights: ``"uniform"``, ``"linear"`` (later layers more) or one number for each layer, used as given.
        evidence: Which maps, counted from 0, are evidence, such as those of ``"positive_sum"``.

    Returns:
        (N, 1, \*output_size) in [0, 1], float32, or float64 if the maps are.

    Raises:
        ValueError: Unknown combination or weights, no maps, or maps that cannot be resized.
        TypeError: Not a list of tensors, or a size that is not one number for each dimension.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import combine_maps
        >>> combine_maps([torch.rand(2, 1, 8, 8), torch.rand(2, 1, 4, 4)], (16, 16)).shape
        torch.Size([2, 1, 16, 16])
    """
    check_combination(combine)
    if isinstance(maps, Tensor):
        raise TypeError("The maps to combine are a list with one tensor for each layer, not one tensor.")
    if not maps:
        raise ValueError("There are no maps to combine; give at least one layer.")
    check_tensors(*maps)
    output_size = spatial_size(output_size)
    findings = Findings()
    broken = torch.stack([~m.detach().flatten(1).isfinite().all(1) for m in maps])
    _note(findings, broken, "has values that are not finite", "its combined map is not a number")
    combined = combined_map(maps, output_size, combine, layer_weights(weights, len(maps)), evidence, findings)
    findings.tell()
    return combined


def combined_map(
    maps: Sequence[Tensor],
    size: tuple[int, ...],
    combine: Combination,
    powers: Sequence[float],
    evidence: Collection[int],
    findings: Findings,
) -> Tensor:
    """As :func:`combine_maps`, of arguments that have been checked; what there is to warn of goes to ``findings``."""
    scaled, constant, silent = [], [], []
    for i, m in enumerate(maps):
        zero = m.detach().flatten(1).amax(1) == 0 if i in evidence else None
        # In a product, what says nothing is 1; where nothing speaks for a class, that is what it says.
        instead: Tensor | float = float(combine == "product")
        if zero is not None:
            instead = instead * ~zero[:, None]
        one, flat = _minmax(resize(accumulation_dtype(m), size), instead)
        scaled.append(one)
        constant.append(flat)
        silent.append(flat & zero if zero is not None else torch.zeros_like(flat))
    left_out = torch.stack(constant) & ~torch.stack(silent)
    _note(findings, left_out, "is constant", "it says nothing of where and is left out")
    nothing = "it is zero, so nothing speaks for the target there, and the product is zero too"
    _note(findings, torch.stack(silent), "is constant", nothing)
    if combine == "sum":
        return minmax(reduce(torch.add, (w * m for m, w in zip(scaled, powers, strict=True))))
    return minmax(reduce(torch.mul, map(_power, scaled, powers)))


def spatial_size(output_size: Sequence[int]) -> tuple[int, ...]:
    """The size as a tuple.

    Raises:
        TypeError: Not one number for each spatial dimension.
        ValueError: A side of no pixels.
    """
    if isinstance(output_size, int) or not all(isinstance(side, Integral) for side in output_size):
        raise TypeError(f"output_size is a whole number for each spatial dimension, as (224, 224), not {output_size}.")
    if any(side < 1 for side in output_size):
        raise ValueError(f"A map cannot have the size {tuple(output_size)}; output_size takes pixels, 1 or more.")
    return tuple(map(int, output_size))


def check_combination(combine: str) -> None:
    """Raise ValueError, naming the choices, unless ``combine`` is a combination."""
    if combine not in get_args(Combination):
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


def _note(findings: Findings, flags: Tensor, what: str, consequence: str) -> None:
    """Warn of layers, (layers, N) bool, for as many samples as they are flagged for."""

    def say(counts: list[int]) -> None:
        for layer, count in enumerate(counts):
            if count:
                warn(
                    f"The map of layer {layer} (counted from 0) {what} for {count} of {flags.shape[1]} samples: "
                    f"{consequence}."
                )

    findings.note(flags.sum(1), say)
