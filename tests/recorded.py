"""Layers that do what recorders stumble over, and a recording that knows no such care."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge


class Pair(nn.Conv2d):
    """Two outputs, the second of which depends on the first."""

    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return y, y.tanh()


class Keeps(nn.Conv2d):
    """Keeps what it returns, for others to use."""

    def forward(self, x: Tensor) -> Tensor:
        self.own = super().forward(x)
        return self.own


class LastOf(nn.Module):
    """Hands one of a list of tensors on."""

    def forward(self, xs: list[Tensor]) -> Tensor:
        return xs[-1]


class Overwrites(nn.Module):
    """Works in place and does not say so."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0.5)


MODULES = {
    "conv": lambda c: nn.Conv2d(c, 2, 1),
    "tanh": lambda c: nn.Tanh(),
    "identity": lambda c: nn.Identity(),
    "dropout_": lambda c: nn.Dropout(inplace=True),
    "relu_": lambda c: nn.ReLU(inplace=True),
    "relu_ ignored": lambda c: nn.ReLU(inplace=True),
    "block": lambda c: nn.Sequential(nn.Conv2d(c, 2, 1), nn.ReLU(inplace=True)),
    "pair": lambda c: Pair(c, 2, 1),
    "keeps": lambda c: Keeps(c, 2, 1),
    "last of": lambda c: LastOf(),
    "overwrites": lambda c: Overwrites(),
}


@contextlib.contextmanager
def naive_hooks(layers: Sequence[nn.Module], kept: dict[nn.Module, list[Any]]) -> Iterator[None]:
    """Keep each output as it is when its layer is left, and pass it on, but for views, of which a copy."""

    def hook(layer: nn.Module, _: Any, output: Any) -> Any:
        tensors = output if isinstance(output, tuple) else (output,)
        for t in tensors:
            if torch.is_grad_enabled() and not t.requires_grad:  # a constant, or cut from the graph
                t.requires_grad_()
        kept[layer] = [(t.detach().clone(), get_gradient_edge(t) if t.requires_grad else None) for t in tensors]
        with torch.enable_grad():
            passed_on = tuple(t.clone() if t._is_view() else t for t in tensors)
        return passed_on if isinstance(output, tuple) else passed_on[0]

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(hook).remove)
        yield
