"""Class sensitivity: how much a map depends on the class that it is to explain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normgrad_attr._captum import Attribution, run_forward
from normgrad_attr._capture import begun
from normgrad_attr._combine import is_constant
from normgrad_attr._extract import check_tensors
from normgrad_attr._state import Arguments, ModelState


def class_sensitivity(
    attribution_method: Attribution,
    inputs: Tensor | tuple[Tensor, ...],
    additional_forward_args: Any = None,
    *,
    targets: tuple[Any, Any] | None = None,
    **kwargs: Any,
) -> Tensor:
    """Rank correlation between each sample's maps for its most and its least likely class.

    A method that explains the class gives two different maps: the correlation is low, ideally 0 or less. A method that
    shows whatever is salient, an edge detector for one, gives the same map twice: 1.

    Args:
        attribution_method: An instance of any Captum attribution that returns one tensor.
        inputs: Input of its ``forward_func``, (N, ...), or a tuple of such.
        additional_forward_args: Further arguments of ``forward_func``.
        targets: Two targets to compare instead, as for ``attribute``. Default: for each sample the class with the
            largest and the one with the smallest output.
        kwargs: Further arguments of ``attribute``.

    Returns:
        (N,) Spearman's correlation over all values of a sample's map, float64, ties given their average rank. NaN
        where one of the two maps is constant (:func:`normgrad_attr.functional.is_constant`) or not finite: no order, no
        correlation. Average with ``nanmean``, and say how many there were.

    Raises:
        ValueError: The output is not (N, classes) with several classes, and no targets are given.
        TypeError: The method returns something else than one tensor.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from normgrad_attr import NormGrad, class_sensitivity
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        >>> class_sensitivity(NormGrad(model.eval(), "1"), torch.rand(4, 3, 32, 32)).shape
        torch.Size([4])

    References:
        Rebuffi, Fong, Ji, Vedaldi: There and Back Again: Revisiting Backpropagation Saliency Methods. CVPR 2020,
        arXiv:2004.02866.
    """
    if targets is None:
        with torch.no_grad(), ModelState(attribution_method.forward_func).watched():
            further = Arguments(additional_forward_args, keep_graph=False).copies()  # a look changes nothing
            output = run_forward(attribution_method.forward_func, begun(inputs), further)
        if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] < 2:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"The most and the least likely class cannot be told from outputs of shape {shape}; pass "
                "targets=(one, the other)."
            )
        targets = output.argmax(1), output.argmin(1)
    maps = []
    for target in targets:
        one = attribution_method.attribute(
            inputs, target=target, additional_forward_args=additional_forward_args, **kwargs
        )
        if not isinstance(one, Tensor):
            raise TypeError(
                f"{type(attribution_method).__name__} returned a {type(one).__name__}; class_sensitivity compares maps "
                "of one layer and one input."
            )
        maps.append(one.detach())
    flat = is_constant(maps[0]) | is_constant(maps[1])
    return spearman(*maps).masked_fill(flat, torch.nan)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of each sample, over all its values.

    Args:
        a: (N, ...), any real dtype.
        b: Same shape.

    Returns:
        (N,) float64; ties get their average rank. NaN where one of the two is constant or has values that are not
        finite.

    Raises:
        ValueError: Shapes differ.
        TypeError: Something else than tensors.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import spearman
        >>> spearman(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 8.0, 27.0]]))
        tensor([1.], dtype=torch.float64)

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866, compare the maps of two classes by it.
    """
    check_tensors(a, b)
    if a.shape != b.shape or a.dim() < 2:
        raise ValueError(
            f"Maps to compare have the same shape (N, ...), these have {tuple(a.shape)} and {tuple(b.shape)}."
        )
    ranks = [torch.stack([_average_ranks(sample) for sample in t.flatten(1)]) for t in (a, b)]
    x, y = (r - r.mean(1, keepdim=True) for r in ranks)
    # 0 / 0, for a constant sample, is the NaN that is wanted.
    return (x * y).sum(1) / (x.square().sum(1) * y.square().sum(1)).sqrt()


def _average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, tied values sharing the average of theirs; NaN if a value is not finite."""
    if not values.isfinite().all():
        return torch.full(values.shape, torch.nan, dtype=torch.float64, device=values.device)
    distinct: tuple[Tensor, Tensor, Tensor] = torch.unique(values, return_inverse=True, return_counts=True)
    _, group, sizes = distinct
    last = sizes.cumsum(0).double()
    return (last - (sizes - 1) / 2)[group]
