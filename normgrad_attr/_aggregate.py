"""Phase two, "aggregate": one number per location from its summands, in closed form.

With ``g`` and ``x`` as in :class:`~normgrad_attr._extract.Summands`, sums over the channels of a group written plainly
and ``box`` for the sum over the window, the entries of the outer product ``g_u x_N(u)^T`` satisfy

========================  ========================================================
Frobenius norm            ``sqrt(|g|^2 box(|x|^2))``
norm of positive part     ``sqrt(|g+|^2 box(|x+|^2) + |g-|^2 box(|x-|^2))``
sum                       ``(sum g) box(sum x)``
maximum                   the largest product of an extreme of g and one of x
========================  ========================================================

Groups add up (for the maximum: compete), and so does the bias, whose summand is ``g`` itself. Memory is O(C) per
location whatever the window. Derived from Rebuffi et al., CVPR 2020.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from normgrad_attr._extract import Summands


def norm(s: Summands) -> Tensor:
    r"""Frobenius norm of the summand at each location: NormGrad.

    Args:
        s: The summands, float32 or float64.

    Returns:
        (N, 1, \*spatial) on the grid of ``s.gradient``, not negative, in its dtype.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import norm
        >>> from normgrad_attr.functional import Summands
        >>> x, g = torch.tensor([[[3.0], [4.0]]]), torch.tensor([[[2.0], [0.0]]])  # two channels, one location
        >>> norm(Summands(g, x))  # |g| |x| = 2 * 5
        tensor([[[10.]]])

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866.
    """
    return _safe_sqrt(_total(s, _square))


def positive_norm(s: Summands) -> Tensor:
    r"""Frobenius norm of the positive entries of the summand at each location: selective NormGrad.

    Args:
        s: The summands, float32 or float64.

    Returns:
        (N, 1, \*spatial) on the grid of ``s.gradient``, not negative, in its dtype.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import positive_norm
        >>> from normgrad_attr.functional import Summands
        >>> x, g = torch.tensor([[[3.0], [4.0]]]), torch.tensor([[[2.0], [-1.0]]])
        >>> positive_norm(Summands(g, x))  # the entries are 6, 8, -3 and -4
        tensor([[[10.]]])

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866.
    """
    positive = _total(s, lambda t: _square(t.clamp(min=0)))
    if s.activation is None:
        return _safe_sqrt(positive)
    # A product is positive also where both factors are negative; a bias has one factor only.
    negative = _total(Summands(s.gradient, s.activation, s.window, s.groups), lambda t: _square(t.clamp(max=0)))
    return _safe_sqrt(positive + negative)


def sum_(s: Summands) -> Tensor:
    r"""Sum of the entries of the summand at each location; for ``scaling`` the linear approximation.

    Args:
        s: The summands, float32 or float64.

    Returns:
        (N, 1, \*spatial) on the grid of ``s.gradient``, signed, in its dtype.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import sum_
        >>> from normgrad_attr.functional import Summands
        >>> x, g = torch.tensor([[[3.0], [4.0]]]), torch.tensor([[[2.0], [-1.0]]])
        >>> sum_(Summands(g, x, groups=2))  # two groups of one channel: 6 - 4
        tensor([[[2.]]])

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866.
    """
    return _total(s, lambda t: t)


def max_(s: Summands) -> Tensor:
    r"""Largest signed entry of the summand at each location.

    Args:
        s: The summands, float32 or float64.

    Returns:
        (N, 1, \*spatial) on the grid of ``s.gradient``, signed, in its dtype.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import max_
        >>> from normgrad_attr.functional import Summands
        >>> x, g = torch.tensor([[[3.0], [4.0]]]), torch.tensor([[[2.0], [-1.0]]])
        >>> max_(Summands(g, x))  # the entries are 6, 8, -3 and -4
        tensor([[[8.]]])

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866; ``bias`` with absolute values is the saliency of
        Simonyan et al., 2014, arXiv:1312.6034.
    """
    candidates = [s.gradient.amax(1, keepdim=True)] if s.bias else []
    if s.activation is not None:
        gs = _group_extremes(s.gradient, s.groups)
        xs = _group_extremes(s.activation, s.groups)
        if not s.window.trivial:
            xs = (s.window.min(xs[0]), s.window.max(xs[-1]))
        candidates += [(g * x).amax(1, keepdim=True) for g in gs for x in xs]
    return functools.reduce(torch.maximum, candidates)


#: Aggregates by name. To add one, write a function of :class:`~normgrad_attr._extract.Summands` and enter it here.
AGGREGATES: dict[str, Callable[[Summands], Tensor]] = {
    "norm": norm,
    "positive_norm": positive_norm,
    "sum": sum_,
    "max": max_,
}


def check_aggregate(name: str) -> None:
    """Raise ValueError, naming the choices, unless ``name`` is an aggregate."""
    if not isinstance(name, str) or name not in AGGREGATES:
        raise ValueError(f"Unknown aggregate {name!r}; choose one of {', '.join(map(repr, AGGREGATES))}.")


def _total(s: Summands, entry: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum of ``entry`` over all entries of the summand, for an ``entry`` that maps a product to the product."""
    total = None
    if s.activation is not None:
        g = _group_sum(s.gradient, s.groups, entry)
        x = s.window.sum(_group_sum(s.activation, s.groups, entry))
        total = (g * x).sum(1, keepdim=True)
    if s.bias:
        bias = _group_sum(s.gradient, 1, entry)
        total = bias if total is None else total + bias
    assert total is not None, "summands without weight and bias"
    return total


def _group_sum(t: Tensor, groups: int, entry: Callable[[Tensor], Tensor]) -> Tensor:
    """(N, C, ...) -> (N, groups, ...), summing ``entry(t)`` inside each group."""
    if groups == t.shape[1]:
        return entry(t)
    if groups == 1:
        return entry(t).sum(1, keepdim=True)
    return entry(t).reshape(t.shape[0], groups, -1, *t.shape[2:]).sum(2)


def _group_extremes(t: Tensor, groups: int) -> tuple[Tensor, ...]:
    """(N, C, ...) -> minimum and maximum per group, (N, groups, ...); one tensor where a group is one channel."""
    if groups == t.shape[1]:
        return (t,)
    grouped = t.reshape(t.shape[0], groups, -1, *t.shape[2:])
    return grouped.amin(2), grouped.amax(2)


def _square(t: Tensor) -> Tensor:
    return t.square()


def _safe_sqrt(t: Tensor) -> Tensor:
    """Square root with derivative zero, not infinity, at zero: dead locations must not spoil a double backward."""
    if not t.requires_grad:
        return t.sqrt()
    alive = t != 0
    return torch.where(alive, t, 1.0).sqrt() * alive
