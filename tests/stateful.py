"""Networks that change something in a pass, for one or two forwards, and how to compare what they leave."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
import torch
from torch import Tensor, nn

SIZE = (6, 6)


def images() -> Tensor:
    return torch.randn(2, 3, *SIZE)


class Cache:
    """Keys and values of former calls, as in a decoder."""

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.length = 0

    def extend(self, t: Tensor) -> Tensor:
        self.layers.append([t, (t[:, :1], t.tanh())])
        self.length += 1
        return torch.stack([first + second[1] for first, second in self.layers]).sum(0)


class Layers(nn.Module):
    """A block, and in front of it a layer that hands on what was used before, for which a pass is repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.handed_on = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Identity()
        self.head = nn.Linear(4, 3)
        self.setup()

    def setup(self) -> None: ...

    def change(self, t: Tensor, *args: Any) -> Tensor:
        """Does what the test is about, in the middle of the forward."""
        raise NotImplementedError

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        x = self.stem(x)
        aside = x.tanh()  # recorded before the layer, and needed in its backward
        x = self.change(self.handed_on(x), *args)
        return self.head((self.block(x).tanh() * aside).mean((2, 3)))


LAYERS = pytest.mark.parametrize(("layer", "forwards"), [("block", 1), ("handed_on", 2)])


def count(model: nn.Module) -> list[None]:
    calls: list[None] = []
    model.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


def equal(a: Any, b: Any) -> None:
    """Fail unless two values are alike, whatever holds them."""
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        torch.testing.assert_close(a.detach(), b.detach())
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            equal(a[key], b[key])
    elif isinstance(a, (list, tuple, deque)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            equal(one, other)
    elif hasattr(a, "__dict__") and not isinstance(a, nn.Module):
        equal(vars(a), vars(b))
    else:
        assert a == b


def graphs(value: Any) -> list[Tensor]:
    """Tensors with a graph, within any containers."""
    if isinstance(value, Tensor):
        return [value] if value.requires_grad else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, deque)) else ()
    if not parts and hasattr(value, "__dict__") and not isinstance(value, nn.Module):
        parts = vars(value).values()
    return [t for part in parts for t in graphs(part)]
