"""The one module that knows captum's private names; tests/test_captum_contract.py fails loudly when they move."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch
from captum._utils.common import _run_forward
from captum._utils.common import _select_targets as select_targets
from captum.attr import Attribution, GradientAttribution, LayerAttribution
from captum.log import log_usage
from torch import Tensor

__all__ = [
    "Attribution",
    "ForwardFunc",
    "GradientAttribution",
    "LayerAttribution",
    "Target",
    "TargetError",
    "as_torch",
    "log_usage",
    "run_forward",
    "select_targets",
]

#: A model, or a function around one, that gives a tensor or something with the tensor ``logits``.
ForwardFunc = Callable[..., Any]
#: Which output to explain, as in Captum.
Target = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None


class TargetError(ValueError, AssertionError):
    """A target that does not fit the model's output; an AssertionError too, as Captum's tests ask for."""


def run_forward(forward_func: ForwardFunc, inputs: Any, additional_forward_args: Any) -> Any:
    """What the model gives; of an object that holds ``logits``, as those of transformers do, the logits."""
    output = _run_forward(forward_func, inputs, None, additional_forward_args)
    logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) else output


def as_torch(target: Any) -> Any:
    """A target of NumPy's as Captum's are: an integer, or a tensor."""
    if isinstance(target, Integral):
        return int(target)
    foreign = hasattr(target, "__array__") and not isinstance(target, Tensor)
    return torch.as_tensor(target, device="cpu") if foreign else target
