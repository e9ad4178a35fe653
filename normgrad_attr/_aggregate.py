"""Phase two, "aggregate": one number per location from its summands, in closed form.

With ``g`` and ``x`` as in :class:`~normgrad_attr._extract.Summands`, sums over the channels of a group written plainly
and ``box`` for the sum over the window, the entries of the outer product ``g_u x_N(u)^T`` satisfy

========================  ========================================================
Frobenius norm            ``sqrt(|g|^2 box(|x|^2))``
norm of positive part     ``sqrt(|g+|^2 box(|x+|^2) + |g-|^2 box(|x-|^2))``
sum                       ``(sum g) box(sum x)``
positive part of the sum  the positive part of that
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
from normgrad_attr._scale import of_any_scale


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
    return of_any_scale(s, lambda s, one: _safe_sqrt(_total(s, one, torch.square)))


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
    return of_any_scale(s, _positive_norm)


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
    return of_any_scale(s, lambda s, one: _total(s, one, lambda t: t, _sum_in_one_order))


def positive_sum(s: Summands) -> Tensor:
    r"""Positive part of the sum of the entries of the summand at each location: where the evidence for the score is.

    With ``scaling`` it is :math:`\max(0, \sum_c g_{u,c} \, x_{u,c})`, which has LayerCAM's form but is not LayerCAM:
    that takes the positive part of each gradient, and again of the sum,
    :math:`\max(0, \sum_c \max(0, g_{u,c}) \, x_{u,c})`. Both agree where no gradient at ``u`` is negative. Where some
    are, behind a ReLU, LayerCAM is larger: it leaves out the channels that speak against the score, which here are
    subtracted.

    Args:
        s: The summands, float32 or float64.

    Returns:
        (N, 1, \*spatial) on the grid of ``s.gradient``, not negative, in its dtype.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import positive_sum
        >>> from normgrad_attr.functional import Summands
        >>> x, g = torch.tensor([[[3.0, 3.0], [4.0, 4.0]]]), torch.tensor([[[2.0, 1.0], [-1.0, -1.0]]])
        >>> positive_sum(Summands(g, x, groups=2))  # 6 - 4 at one location, 3 - 4 at the other
        tensor([[[2., 0.]]])

    References:
        The sum is that of Rebuffi et al., CVPR 2020, arXiv:2004.02866; LayerCAM that of Jiang et al., IEEE Transactions
        on Image Processing 30, 2021.
    """
    return sum_(s).clamp(min=0)


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
    return of_any_scale(s, _max)


#: Sums that are typically below this part of the norm are what rounding, and a layer norm's epsilon, leave of nothing.
_CANCELLED = 2.0**-6
_FEW = 8  # so many may all be that small by chance

#: Aggregates by name. To add one, write a function of :class:`~normgrad_attr._extract.Summands` and enter it here.
AGGREGATES: dict[str, Callable[[Summands], Tensor]] = {
    "norm": norm,
    "positive_norm": positive_norm,
    "sum": sum_,
    "positive_sum": positive_sum,
    "max": max_,
}


def is_cancelled(sums: Tensor, norms: Tensor) -> Tensor:
    """Whether sums are what is left of summands that cancel, not something that they add up to.

    Sums of summands that have nothing to do with each other are about as large as their norm. Before a layer norm,
    which depends neither on its input's mean nor on its scale, activation x gradient sums to a millionth of that.

    Args:
        sums: What ``sum`` or ``positive_sum`` gave.
        norms: What ``norm`` gives of the same summands.

    Returns:
        () bool: most sums that are not zero are that small.
    """
    told = sums != 0
    count, small = told.sum(), (told & (sums.abs() < _CANCELLED * norms)).sum()
    return (count >= _FEW) & (2 * small > count)


def check_aggregate(name: str) -> None:
    """Raise ValueError, naming the choices, unless ``name`` is an aggregate."""
    if not isinstance(name, str) or name not in AGGREGATES:
        raise ValueError(f"Unknown aggregate {name!r}; choose one of {', '.join(map(repr, AGGREGATES))}.")


def _positive_norm(s: Summands, one: Tensor) -> Tensor:
    positive = _total(s, one, lambda t: torch.square(t.clamp(min=0)))
    if s.activation is None:
        return _safe_sqrt(positive)
    # A product is positive also where both factors are negative; a bias has one factor only.
    weight_only = Summands(s.gradient, s.activation, s.window, s.groups)
    return _safe_sqrt(positive + _total(weight_only, one, lambda t: torch.square(t.clamp(max=0))))


def _max(s: Summands, one: Tensor) -> Tensor:
    candidates = [s.gradient.amax(1, keepdim=True) * one] if s.bias else []
    if s.activation is not None:
        gs = _group_extremes(s.gradient, s.groups)
        xs = _group_extremes(s.activation, s.groups)
        if not s.window.trivial:
            xs = (s.window.min(xs[0]), s.window.max(xs[-1]))
        candidates += [(g * x).amax(1, keepdim=True) for g in gs for x in xs]
    return functools.reduce(torch.maximum, candidates)


def _total(
    s: Summands,
    one: Tensor,
    entry: Callable[[Tensor], Tensor],
    add: Callable[[Tensor, int], Tensor] = torch.sum,
) -> Tensor:
    """Sum of ``entry`` over all entries of the summand, for an ``entry`` that maps a product to the product.

    ``one`` is what the summand of a bias has in place of an activation.
    """
    total = None
    if s.activation is not None:
        g = _group_sum(s.gradient, s.groups, entry, add)
        x = s.window.sum(_group_sum(s.activation, s.groups, entry, add))
        total = add(g * x, 1).unsqueeze(1)
    if s.bias:
        bias = _group_sum(s.gradient, 1, entry, add) * entry(one)
        total = bias if total is None else total + bias
    assert total is not None  # summands have an activation, a bias or both
    return total


def _group_sum(
    t: Tensor, groups: int, entry: Callable[[Tensor], Tensor], add: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """(N, C, ...) -> (N, groups, ...), summing ``entry(t)`` inside each group."""
    if groups == t.shape[1]:
        return entry(t)
    if groups == 1:
        return add(entry(t), 1).unsqueeze(1)
    return add(entry(t).reshape(t.shape[0], groups, -1, *t.shape[2:]), 2)


def _sum_in_one_order(t: Tensor, dim: int) -> Tensor:
    """Sum over ``dim``, halves added to halves, so that equal summands give equal sums at every location.

    ``torch.sum`` adds in an order that depends on where a location lies in memory. Where summands cancel, that noise is
    all there is to see of a constant map. A sum of squares does not cancel.
    """
    while (size := t.shape[dim]) > 1:
        half = size // 2
        pairs = t.narrow(dim, 0, half) + t.narrow(dim, half, half)
        t = torch.cat([pairs, t.narrow(dim, 2 * half, 1)], dim) if size % 2 else pairs
    return t.squeeze(dim)


def _group_extremes(t: Tensor, groups: int) -> tuple[Tensor, ...]:
    """(N, C, ...) -> minimum and maximum per group, (N, groups, ...); one tensor where a group is one channel."""
    if groups == t.shape[1]:
        return (t,)
    grouped = t.reshape(t.shape[0], groups, -1, *t.shape[2:])
    return grouped.amin(2), grouped.amax(2)


def _safe_sqrt(t: Tensor) -> Tensor:
    """Square root with derivative zero, not infinity, at zero: dead locations must not spoil a double backward."""
    if not t.requires_grad:
        return t.sqrt()
    alive = t != 0
    return torch.where(alive, t, 1.0).sqrt() * alive
