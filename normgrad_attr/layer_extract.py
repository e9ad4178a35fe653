"""``extract="layer"``: the summands of a real layer's own weight gradient, by layer type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from normgrad_attr.capture import Captured
from normgrad_attr.extract import Summands, accumulation_dtype
from normgrad_attr.window import Window

#: From layer type to the function (layer, input, gradient of the output) -> summands. Add a type by entering it here;
#: subclasses are found by their bases.
LAYER_EXTRACTS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Summands]] = {}


def layer_summands(layer: nn.Module, captured: Captured, name: str) -> Summands:
    """Summands of the layer's own weight and bias.

    Raises:
        ValueError: The layer's type has no entry in :data:`LAYER_EXTRACTS`, or the layer has no parameters.
    """
    function = next((LAYER_EXTRACTS[t] for t in type(layer).__mro__ if t in LAYER_EXTRACTS), None)
    if function is None:
        known = ", ".join(t.__name__ for t in LAYER_EXTRACTS)
        raise ValueError(
            f"extract='layer' does not know the weights of layer {name}; choose a layer of type {known}, or enter a "
            "function for its type in normgrad_attr.layer_extract.LAYER_EXTRACTS."
        )
    if not any(True for _ in layer.parameters(recurse=False)):
        raise ValueError(f"extract='layer' needs weights, but layer {name} has none; use a virtual extract there.")
    assert captured.inputs is not None
    x, g = accumulation_dtype(captured.inputs), accumulation_dtype(captured.gradients[0])
    with torch.autocast(x.device.type, enabled=False):
        return function(layer, x, g)


def _conv(layer: Any, x: Tensor, g: Tensor) -> Summands:
    # Convolutions keep their padding in F.pad's order (last dimension first), padding="same" worked out.
    ends = layer._reversed_padding_repeated_twice
    pairs = tuple(zip(ends[-2::-2], ends[::-2], strict=True))
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    window = Window(layer.kernel_size, layer.stride, layer.dilation, pairs, mode)
    return Summands(g, x, window, layer.groups, bias=layer.bias is not None)


LAYER_EXTRACTS.update({nn.Conv1d: _conv, nn.Conv2d: _conv, nn.Conv3d: _conv})
