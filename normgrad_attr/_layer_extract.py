r"""``extract="layer"``: the summands of a real layer's own weight gradient, by layer type.

No virtual identity is imagined here; the question is how much each location contributes to the gradient of the weight
(and bias) that the layer has. For most types the summand at u is that of a copy of the parameters used at the output
location u alone, and the map lies on the layer's output grid:

==============================================  ==========================================  ==================
layer                                           summand at u                                map
==============================================  ==========================================  ==================
``Conv1d/2d/3d``                                ``g_u x_N(u)^T`` and ``g_u``                (N, 1, \*output)
``ConvTranspose1d/2d/3d``                       ``x_u g_N(u)^T``                            (N, 1, \*input)
``Linear``                                      ``g_u x_u^T`` and ``g_u``                   (N, 1, \*tokens)
``BatchNorm``, ``GroupNorm``, ``InstanceNorm``  ``g_u * normalised x_u`` and ``g_u``        (N, 1, \*spatial)
``LayerNorm``, ``RMSNorm``                      ``g_u * normalised x_u`` (and ``g_u``)      (N, 1, \*tokens)
==============================================  ==========================================  ==================

A transposed convolution uses its weight at the *input* locations: x_u meets the outputs that it reaches. Its bias acts
on the output grid, where no input location owns it, and is left out. A parametrised weight (``weight_norm``,
``spectral_norm``, pruning) counts as the weight that the layer works with.

To add a type, write a function ``(layer, x, g) -> Summands`` of the layer's input and its output's gradient, both in
float32 at least, and enter it::

    from normgrad_attr import LAYER_EXTRACTS
    from normgrad_attr.functional import Summands

    def prelu(layer, x, g):  # d y / d weight = min(x, 0)
        return Summands(g, x.clamp(max=0), groups=x.shape[1])

    LAYER_EXTRACTS[nn.PReLU] = prelu

Subclasses are found by their bases, unless they override ``forward`` and so may do something else with the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normgrad_attr._extract import Summands, accumulation_dtype
from normgrad_attr._recorder import Captured
from normgrad_attr._window import Window


def layer_summands(layer: nn.Module, captured: Captured, name: object, batch_dim: int = 0) -> Summands:
    """Summands of the layer's own weight and bias.

    Args:
        layer: The layer.
        captured: Its input, and its output's gradient.
        name: Its name for messages.
        batch_dim: Of input and output.

    Raises:
        ValueError: The layer's type has no entry in :data:`LAYER_EXTRACTS`, or the layer has no parameters.
    """
    if next(layer.parameters(), None) is None:
        raise ValueError(
            f"extract='layer' needs weights, but layer {name} has none; use a virtual identity there, such as "
            "extract='conv1x1'."
        )
    base = next((t for t in type(layer).__mro__ if t in LAYER_EXTRACTS), None)
    if base is None or not _computes_as(layer, base):
        known = ", ".join(t.__name__ for t in LAYER_EXTRACTS)
        reason = f"does not know layer {name}" if base is None else f"cannot tell what layer {name} does with its "
        reason += "" if base is None else f"weight, for its forward is not that of {base.__name__}"
        raise ValueError(
            f"extract='layer' {reason}; choose a layer of type {known}, or enter a function for "
            f"{type(layer).__name__} in normgrad_attr.LAYER_EXTRACTS."
        )
    assert captured.inputs is not None
    x, g = (accumulation_dtype(t).movedim(batch_dim, 0) for t in (captured.inputs, captured.gradients[0]))
    with torch.autocast(x.device.type, enabled=False):
        return LAYER_EXTRACTS[base](layer, x, g)


def _computes_as(layer: nn.Module, base: type[nn.Module]) -> bool:
    """Whether a layer's class, and the layer itself, leave the base's computation alone."""
    names = ("forward", "_conv_forward")
    own = any(name in vars(layer) for name in names)
    return not own and all(getattr(type(layer), f, None) is getattr(base, f, None) for f in names)


def _conv(layer: Any, x: Tensor, g: Tensor) -> Summands:
    if layer.padding_mode != "zeros":  # kept in F.pad's order, the last dimension first
        ends = layer._reversed_padding_repeated_twice
        pairs = tuple(zip(ends[-2::-2], ends[::-2], strict=True))
    elif layer.padding == "same":
        spare = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        pairs = tuple((s // 2, s - s // 2) for s in spare)
    else:
        ends = (0,) * len(layer.kernel_size) if layer.padding == "valid" else layer.padding
        pairs = tuple((p, p) for p in ends)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    window = Window(layer.kernel_size, layer.stride, layer.dilation, pairs, mode)
    return Summands(g, x, window, layer.groups, bias=layer.bias is not None)


def _conv_transpose(layer: Any, x: Tensor, g: Tensor) -> Summands:
    # The adjoint of a convolution: seen from the input grid, the output's gradient passes through the window. What
    # output_padding (or output_size) adds at the end of the output takes the place of padding there.
    pairs = []
    window = zip(layer.kernel_size, layer.stride, layer.dilation, layer.padding, strict=True)
    for dim, (k, s, d, p) in enumerate(window, start=2):
        end = (x.shape[dim] - 1) * s + d * (k - 1) + 1 - p - g.shape[dim]
        g = g.narrow(dim, 0, g.shape[dim] + min(end, 0))
        pairs.append((p, max(end, 0)))
    return Summands(x, g, Window(layer.kernel_size, layer.stride, layer.dilation, tuple(pairs)), layer.groups)


def _linear(layer: Any, x: Tensor, g: Tensor) -> Summands:
    return Summands(g.movedim(-1, 1), x.movedim(-1, 1), bias=layer.bias is not None)


def _batch_norm(layer: Any, x: Tensor, g: Tensor) -> Summands:
    mean, var, own = _statistics(layer, x, layer.training or layer.running_mean is None)
    return _elementwise(layer, F.batch_norm(x, mean, var, training=own, eps=layer.eps), g)


def _instance_norm(layer: Any, x: Tensor, g: Tensor) -> Summands:
    mean, var, own = _statistics(layer, x, layer.training or not layer.track_running_stats)
    return _elementwise(layer, F.instance_norm(x, mean, var, use_input_stats=own, eps=layer.eps), g)


def _group_norm(layer: Any, x: Tensor, g: Tensor) -> Summands:
    return _elementwise(layer, F.group_norm(x, layer.num_groups, eps=layer.eps), g)


def _layer_norm(layer: Any, x: Tensor, g: Tensor) -> Summands:
    return _over_last(layer, F.layer_norm(x, layer.normalized_shape, eps=layer.eps), g)


def _rms_norm(layer: Any, x: Tensor, g: Tensor) -> Summands:
    return _over_last(layer, F.rms_norm(x, layer.normalized_shape, eps=layer.eps), g)


def _over_last(layer: Any, normalised: Tensor, g: Tensor) -> Summands:
    """Norms over the last dimensions: tokens with their channels last, or whole images with theirs in dimension 1."""
    dims = len(layer.normalized_shape)
    if dims == 1 or dims < g.dim() - 1:
        normalised, g = (t.flatten(-dims).movedim(-1, 1) for t in (normalised, g))
    return _elementwise(layer, normalised, g)


def _elementwise(layer: Any, normalised: Tensor, g: Tensor) -> Summands:
    return Summands(g, normalised, groups=g.shape[1], bias=getattr(layer, "bias", None) is not None)


def _statistics(layer: Any, x: Tensor, from_input: bool) -> tuple[Tensor | None, Tensor | None, bool]:
    """Running mean and variance as the input's dtype and device; none of them, and so untouched, if not used."""
    return (None, None, True) if from_input else (layer.running_mean.to(x), layer.running_var.to(x), False)


#: From layer type to the function (layer, input, gradient of the output) -> summands.
LAYER_EXTRACTS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Summands]] = {
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Conv3d: _conv,
    nn.ConvTranspose1d: _conv_transpose,
    nn.ConvTranspose2d: _conv_transpose,
    nn.ConvTranspose3d: _conv_transpose,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.InstanceNorm1d: _instance_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.InstanceNorm3d: _instance_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
}
