"""Inputs and further arguments that a model changes are afterwards as one plain forward would leave them."""

from __future__ import annotations

from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import build, each_kind, plain, untouched
from stateful import LAYERS, SIZE, Cache, Layers, count, equal, graphs, images
from torch import Tensor, nn

from normgrad_attr import NormGrad, class_sensitivity, suggest_layers

Pair = namedtuple("Pair", "mask scale")


@dataclass
class Options:
    mask: Tensor
    history: list[Any] = field(default_factory=list)


# Further arguments


def change_mask(options: Any) -> Tensor:
    mask: Tensor = options["mask"] if isinstance(options, dict) else options.mask
    return mask.mul_(0.5)


def change_list(options: list[Any], t: Tensor) -> Tensor:
    options[0].add_(1)
    options.append(t * options[0])
    return options[-1]


def change_view(mask: Tensor, t: Tensor) -> Tensor:
    mask[:, :2] = t.mean()
    return mask * t


def twice() -> list[Any]:
    t = torch.ones(1)
    return [t, {"t": t}]


ARGUMENTS: dict[str, tuple[Callable[[], Any], Callable[[Any, Tensor], Tensor]]] = {
    "tensor": (lambda: torch.ones(1, 4, 1, 1), lambda a, t: t * a.mul_(2).add_(t.mean())),
    "expanded from a larger one": (lambda: torch.ones(1, 8, 1, 1)[:, ::2], change_view),
    "tuple": (lambda: (torch.ones(1), [torch.ones(1)]), lambda a, t: t * a[0].add_(1) * a[1][0].mul_(3)),
    "named tuple": (lambda: Pair(torch.ones(1), 2.0), lambda a, t: t * change_mask(a)),
    "list": (lambda: [torch.ones(1)], change_list),
    "dict": (
        lambda: {"mask": torch.ones(1), "n": 1},
        lambda a, t: a.update(n=a["n"] + 1, k=t) or t * change_mask(a),
    ),
    "ordered dict": (lambda: OrderedDict(mask=torch.ones(1)), lambda a, t: t * change_mask(a)),
    "nested": (lambda: {"a": [{"b": torch.ones(1)}]}, lambda a, t: t * a["a"][0]["b"].mul_(2)),
    "deque": (lambda: deque([torch.ones(1)], maxlen=2), lambda a, t: a.append(t * a[0].add_(1)) or a[-1]),
    "dataclass": (lambda: Options(torch.ones(1)), lambda a, t: a.history.append(t[:, :1]) or t * change_mask(a)),
    "namespace": (lambda: SimpleNamespace(mask=torch.ones(1)), lambda a, t: t * change_mask(a)),
    "cache": (Cache, lambda a, t: a.extend(t)),
    "integers": (lambda: torch.tensor([3, 1]), lambda a, t: t * a.add_(1).float().mean()),
    "one thing in two places": (twice, lambda a, t: t * a[0].add_(1) * a[1]["t"]),
}


class WithArgument(Layers):
    def change(self, t: Tensor, *args: Any) -> Tensor:
        return ARGUMENTS[self.name][1](args[0], t)


@LAYERS
def test_a_further_argument_from_inference_mode(layer: str, forwards: int) -> None:
    class Scaled(Layers):
        def change(self, t: Tensor, *args: Any) -> Tensor:
            return t * args[0]

    model, x = Scaled().eval(), images()
    with torch.inference_mode():
        scale = torch.rand(2, 1, 1, 1)
    expected = NormGrad(model, layer).attribute(x, 1, scale.clone())
    torch.testing.assert_close(NormGrad(model, layer).attribute(x, 1, scale), expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
@LAYERS
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_further_argument_is_changed_once(name: str, layer: str, forwards: int, mode: Any) -> None:
    model, x = WithArgument().eval(), images()
    model.name = name
    make = ARGUMENTS[name][0]
    theirs, truth, argument = make(), make(), make()
    inside = argument[0] if isinstance(argument, (list, tuple, deque)) else argument
    with torch.no_grad():
        model(x, theirs)
    expected = plain(
        "single", lambda: model(x.clone().requires_grad_(), truth)[:, 1], [model.get_submodule(layer)], SIZE
    )
    calls = count(model)
    with mode(), untouched(model, x):
        found = NormGrad(model, layer).attribute(x, 1, (argument,))
    torch.testing.assert_close(found, expected)
    assert len(calls) == forwards
    equal(argument, theirs)
    assert not graphs(argument)
    assert inside is (argument[0] if isinstance(argument, (list, tuple, deque)) else argument) or name == "deque"


# Inputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
@pytest.mark.parametrize("layer", ["drop", "fc"])
@pytest.mark.parametrize("frozen", [False, True])
def test_inputs_of_any_type_that_the_model_overwrites(dtype: torch.dtype, layer: str, frozen: bool) -> None:
    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.drop, self.fc = nn.Embedding(9, 4), nn.Dropout(), nn.Linear(4, 2)

        def forward(self, i: Tensor) -> Tensor:
            i.clamp_(max=1)
            t = self.embedding(i.long()) + i.unsqueeze(-1)
            aside = t.tanh()
            return (self.fc(self.drop(t).to(self.fc.weight.dtype)) * aside[..., :2]).mean(1)

    model, ids = Overwrites().eval(), torch.tensor([[8, 1, 0]]).to(dtype)
    before = ids.clone()
    t = (model.embedding(ids.clone().clamp_(max=1).long()) + ids.clone().clamp_(max=1).unsqueeze(-1)).float()
    t = t.detach().requires_grad_()
    y = model.fc(t)
    kept = t if layer == "drop" else y
    (g,) = torch.autograd.grad((y * t.tanh()[..., :2]).mean(1)[:, 1].sum(), kept)
    model.requires_grad_(not frozen)
    with untouched(model, ids):
        found = NormGrad(model, layer, channel_dim=-1).attribute(ids, 1)
    assert torch.equal(ids, before)
    torch.testing.assert_close(found[:, 0].float(), kept.detach().norm(dim=-1) * g.norm(dim=-1))


@each_kind
def test_inputs_that_are_no_tensors_are_refused(kind: str) -> None:
    net, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(144, 2)).eval(), images()
    method = build(kind, lambda d: net(d["x"]), net[0])
    with pytest.raises(TypeError, match=r"Input 0 is a dict, not a tensor; pass the tensors.*lambda x: model"):
        method.attribute({"x": x}, 0)
    with pytest.raises(TypeError, match="Input 1 is a int"):
        method.attribute((x, 3), 0)


def test_a_look_changes_no_argument_and_no_input() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor, count: Tensor) -> Tensor:
            count.add_(1)
            x.sub_(0.1)
            return self.head(self.conv(x).tanh().mean((2, 3)))

    model, x, count = Counts().eval(), torch.rand(2, 3, 8, 8), torch.zeros(())
    before = x.clone()
    suggest_layers(model, x, count)
    assert count == 0
    class_sensitivity(NormGrad(model, "conv"), x, additional_forward_args=count)
    assert count == 2  # once for each of the two classes
    assert torch.equal(x, before)


def test_nested_tensors_are_refused() -> None:
    nested = torch.nested.nested_tensor([torch.rand(2, 3), torch.rand(4, 3)], layout=torch.jagged)
    with pytest.raises(TypeError, match="Input 0 is a nested tensor"):
        NormGrad(nn.Linear(3, 2), "").attribute(nested, 0)


def test_an_operation_in_place_under_vmap() -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).eval(), torch.rand(2, 3, 8, 8)
    found = NormGrad(lambda t: model(torch.vmap(lambda q: q.clone().mul_(2))(t)), model[0]).attribute(x, 1)
    torch.testing.assert_close(found, NormGrad(model, "0").attribute(2 * x, 1))
