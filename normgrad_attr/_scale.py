"""Summands in units of each sample's largest values, so that no square of theirs under- or overflows.

Every aggregate is homogeneous: a score a thousand times larger makes a map a thousand times larger. Squares in
float32 are not, below 1e-19 and above 1e19. So every sample's ``g`` and ``x`` are first divided by a power of two near
their largest value, which rounds nothing, and the map is multiplied by it at the end.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from normgrad_attr._extract import Summands

# By dtype: an integer of the same width, the bits of it that are the exponent, and the largest unit.
_EXPONENT = {
    torch.float32: (torch.int32, 0x7F800000, 2.0**96),
    torch.float64: (torch.int64, 0x7FF << 52, 2.0**768),
}


def of_any_scale(s: Summands, aggregate: Callable[[Summands, Tensor], Tensor]) -> Tensor:
    """Aggregate the summands in units of each sample's largest gradient and activation.

    Args:
        s: The summands.
        aggregate: From the summands in these units, and the number 1 in units of the activation, which is what the
            summand of a bias has in its place, to the map.
    """
    g_unit = _power_of_two(s.gradient)
    gradient = s.gradient * g_unit.reciprocal()
    if s.activation is None:
        return aggregate(Summands(gradient, bias=s.bias), g_unit.new_ones(())) * g_unit
    x_unit = _power_of_two(s.activation)
    if s.bias:
        x_unit = x_unit.clamp(min=1)
    one = x_unit.reciprocal()
    # One after the other: the product of the units may leave the range where the map does not.
    return aggregate(Summands(gradient, s.activation * one, s.window, s.groups, s.bias), one) * g_unit * x_unit


def _power_of_two(t: Tensor) -> Tensor:
    """Of each sample's largest absolute value, (N, 1, ...): the exponent alone, in bounds whose inverse is finite."""
    t, rest = t.detach(), tuple(range(1, t.dim()))
    largest = torch.maximum(t.amax(rest, keepdim=True), -t.amin(rest, keepdim=True))
    # Infinity and NaN have no exponent, and zero has none that can be divided by.
    if t.dtype not in _EXPONENT:
        raise TypeError(f"Summands are float32 or float64, not {t.dtype}; convert gradient and activation.")
    integer, exponent, most = _EXPONENT[t.dtype]
    power = (largest.nan_to_num(1.0, 1.0).view(integer) & exponent).view(t.dtype)
    return power.clamp(1 / most, most)
