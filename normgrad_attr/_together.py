"""Maps of several NormGrad methods from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from normgrad_attr._attribution import Cell, Inputs, Maps, NormGrad, dtype_of
from normgrad_attr._captum import Target
from normgrad_attr._combined import CombinedNormGrad
from normgrad_attr._findings import Findings


def attribute_together(
    methods: Sequence[NormGrad[Any] | CombinedNormGrad],
    inputs: Inputs,
    target: Target = None,
    additional_forward_args: object = None,
) -> list[Any]:
    r"""Compute the maps of several methods from one forward and one backward, such as to compare them.

    Args:
        methods: :class:`NormGrad` and :class:`CombinedNormGrad` of one model, any extracts, aggregates and layers.
        inputs: As in :meth:`NormGrad.attribute`, like the next two: (N, C, \*spatial), or a tuple of such.
        target: See there.
        additional_forward_args: See there.

    Returns:
        For each method what its ``attribute`` returns, in the dtype of ``inputs``.

    Raises:
        TypeError: A method of another kind.
        ValueError: No methods, or methods of several models, devices or channel dimensions, and whatever their
            ``attribute`` raises.

    Examples:
        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from normgrad_attr import CombinedNormGrad, NormGrad, attribute_together
        >>> model = resnet18().eval()
        >>> methods = [NormGrad(model, "layer4.1"), CombinedNormGrad(model, ["layer3.1", "layer4.1"])]
        >>> [tuple(maps.shape) for maps in attribute_together(methods, torch.rand(2, 3, 64, 64), target=7)]
        [(2, 1, 2, 2), (2, 1, 64, 64)]

    References:
        Rebuffi et al., CVPR 2020, arXiv:2004.02866.
    """
    wanted: dict[nn.Module, list[Cell]] = {}
    cells = [_cells(method) for method in methods]
    for of_method in cells:
        for layer, cell in of_method:
            wanted.setdefault(layer, []).append(cell)
    one_pass = _over(methods, list(wanted))
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    # As CombinedNormGrad wants it; maps that are returned as they are lose what is too much below.
    precision = torch.float64 if any(getattr(t, "dtype", None) == torch.float64 for t in tensors) else torch.float32
    findings = Findings()
    by_layer, layouts, _ = one_pass._maps(
        list(wanted.values()), inputs, target, additional_forward_args, False, None, precision, findings=findings
    )
    maps = dict(zip(wanted, by_layer, strict=True))
    laid = dict(zip(wanted, layouts, strict=True))
    results: list[Any] = []
    for method, of_method in zip(methods, cells, strict=True):
        found = [maps[layer][cell] for layer, cell in of_method]
        if isinstance(method, CombinedNormGrad):
            of_layers = [laid[layer] for layer, _ in of_method]
            fitted = tuple(method._fit(found, of_layers, t, None, False, i, findings) for i, t in enumerate(tensors))
            results.append(fitted if isinstance(inputs, tuple) else fitted[0])
        else:
            results.append(method._as_given([_in_dtype(one, inputs) for one in found]))
    findings.tell()
    return results


def _cells(method: NormGrad[Any] | CombinedNormGrad) -> list[tuple[nn.Module, Cell]]:
    """Layers of a method, each with its extract and aggregate."""
    if isinstance(method, CombinedNormGrad):
        return list(zip(method.layers, method._cells(), strict=True))
    if not isinstance(method, NormGrad):
        raise TypeError(
            f"A pass is shared by NormGrad and CombinedNormGrad methods, which a {type(method).__name__} is not; call "
            "its attribute() by itself."
        )
    layers = method.layer if isinstance(method.layer, list) else [method.layer]
    return [(layer, (method.extract, method.aggregate)) for layer in layers]


def _over(methods: Sequence[NormGrad[Any] | CombinedNormGrad], layers: list[nn.Module]) -> NormGrad[Any]:
    """What captures the layers of all methods."""
    own = [method.normgrad if isinstance(method, CombinedNormGrad) else method for method in methods]
    if not own:
        raise ValueError("There are no methods; give one at least.")
    first = own[0]
    for other in own:
        if other.forward_func is not first.forward_func:
            raise ValueError("The methods are of several models, which share no pass; give those of one model.")
        if (other.device_ids, other.channel_dim) != (first.device_ids, first.channel_dim):
            raise ValueError("The methods differ in device_ids or channel_dim; give methods that agree, or call each.")
    return NormGrad(first.forward_func, layers, first.device_ids, channel_dim=first.channel_dim)


def _in_dtype(maps: Maps, inputs: Inputs) -> Maps:
    if isinstance(maps, tuple):
        return tuple(one.to(dtype_of(inputs, one)) for one in maps)
    return maps.to(dtype_of(inputs, maps))
