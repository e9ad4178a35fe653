"""Where the evidence for a class can be read: at a layer whose scale matters to what reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from normgrad_attr._aggregate import is_cancelled, norm, sum_
from normgrad_attr._attribution import NormGrad
from normgrad_attr._captum import Target
from normgrad_attr._capture import capture
from normgrad_attr._layers import names_of, resolve
from normgrad_attr._layout import Layouts


def evidence_layer(model: nn.Module, last: str, images: Tensor, choose_target: Callable[[Tensor], Target]) -> str:
    """The layer itself, or the norm that reads it where that norm hides what the layer has to say.

    What a layer norm gives depends neither on the mean nor on the scale of what it gets, so activation x gradient is
    zero at each location before it, but for rounding. So it is at the end of Swin, and behind the last block but one of
    a ViT, whose patches reach the class token through one more norm. Behind that norm it tells what it should.

    Args:
        model: A model.
        last: Name of a layer.
        images: (N, C, H, W), one will do.
        choose_target: From the model's output to the target.

    Returns:
        Its name, or that of the first norm that runs after it, once.
    """
    layer = resolve(model, last)
    ended, norms = False, dict[nn.Module, int]()

    def end(*_: Any) -> None:
        nonlocal ended
        ended = True

    def begin(module: nn.Module, *_: Any) -> None:
        if ended:
            norms[module] = norms.get(module, 0) + 1

    with contextlib.ExitStack() as hooks:
        hooks.callback(layer.register_forward_hook(end).remove)
        for module in model.modules():
            if "norm" in type(module).__name__.lower() and next(module.children(), None) is None:
                hooks.callback(module.register_forward_pre_hook(begin).remove)
        one_pass = capture(model, [layer], images, choose_target=choose_target)
    ((captured, *_),) = one_pass.layers
    layouts = [Layouts(one_pass.root).of(edge) for edge in captured.edges]
    summands = NormGrad(model, layer)._summands("scaling", layer, last, captured, layouts)
    once = [module for module, count in norms.items() if count == 1]
    if once and all(is_cancelled(sum_(s), norm(s)) for s in summands):
        return names_of(model, once[:1])[0]
    return last
