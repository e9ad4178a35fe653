"""What a model, or anyone else, keeps of a pass under ``torch.no_grad`` carries no graph, wherever it is kept."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normgrad_attr import NormGrad


class Slots:
    __slots__ = ("value",)


class Square(torch.autograd.Function):
    """A function of the user's own, of which torch's modes see nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * ctx.saved_tensors[0] * grad


class Keeper(nn.Module):
    def __init__(self, make: Callable[[Tensor], Tensor], keep: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make, self.keep = make, keep
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(144, 2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.make(self.conv(x))
        self.keep(features)
        result: Tensor = self.head(features.flatten(1))
        return result


def places() -> dict[str, tuple[Callable[[Tensor], Any], Callable[[], Tensor]]]:
    """How something is kept, and found again."""
    last, some, slots, closed = deque[Tensor](maxlen=2), set[Tensor](), Slots(), Tensor()

    def close(t: Tensor) -> None:
        nonlocal closed
        closed = t

    return {
        "deque": (last.append, lambda: last[-1]),
        "set": (some.add, lambda: next(iter(some))),
        "slot": (lambda t: setattr(slots, "value", t), lambda: slots.value),
        "closure": (close, lambda: closed),
        "tuple in a slot": (lambda t: setattr(slots, "value", ([t], t)), lambda: slots.value[1]),
    }


@pytest.mark.parametrize("make", [torch.tanh, lambda t: t.flatten(2), Square.apply, lambda t: Square.apply(t)[:, :]])
@pytest.mark.parametrize("where", places())
def test_what_is_kept_is_the_same_tensor_without_its_graph(where: str, make: Callable[[Tensor], Tensor]) -> None:
    keep, kept = places()[where]
    given: list[int] = []
    model, x = Keeper(make, lambda t: (keep(t), given.append(id(t)))).eval(), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = make(model.conv(x))
        NormGrad(model, "conv").attribute(x, 1)
    assert id(kept()) == given[-1]
    assert not kept().requires_grad
    torch.testing.assert_close(kept(), expected)
    copy.deepcopy(kept())


@pytest.mark.parametrize("given", [False, True])
def test_a_graph_of_the_users_own_is_left_to_them(given: bool) -> None:
    """Learnable prompts, worked out once a step, keep learning though a map was looked at in between."""
    body = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    prompts, encoder, x = nn.Parameter(torch.randn(4, 3)), nn.Linear(3, 3), torch.rand(2, 3, 8, 8)
    text = encoder(prompts)
    view = text[:2]
    if given:
        NormGrad(lambda image, text: body(image) @ text.T, body[0]).attribute(x, 1, (text,))
    else:
        NormGrad(lambda image: body(image) @ torch.cat([text, view]).T, body[0]).attribute(x, 1)
    (body(x) @ torch.cat([text, view]).T).sum().backward()
    assert prompts.grad is not None
    assert encoder.weight.grad is not None
