"""What a model changes of itself in a pass is afterwards as one plain forward, or none, would leave it."""

from __future__ import annotations

import copy
import gc
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import plain, saved_for_backward
from stateful import LAYERS, SIZE, Cache, Layers, count, equal, graphs, images
from torch import Tensor, nn

from normgrad_attr import NormGrad, suggest_layers

# Attributes of modules, and what hooks keep


KEEPS: dict[str, tuple[Any, Callable[[nn.Module, Tensor], Any]]] = {
    "tensor": (None, lambda m, t: setattr(m, "kept", t.tanh())),
    "view": (None, lambda m, t: setattr(m, "kept", t[:, :2])),
    "number": (0, lambda m, t: setattr(m, "kept", m.kept + 1)),
    "list": ([], lambda m, t: m.kept.append(t * 2)),
    "list of tuples": ([], lambda m, t: m.kept.append((t, t.exp()))),
    "list of lists": ([], lambda m, t: m.kept.append([t, t[:1]])),
    "dict": ({}, lambda m, t: m.kept.update({len(m.kept): t.exp()})),
    "deque": (deque(maxlen=2), lambda m, t: m.kept.append(t.exp())),
    "object": (Cache(), lambda m, t: m.kept.extend(t)),
    "names": (set(), lambda m, t: m.kept.add(f"call {len(m.kept)}")),
    "numbers in a dict": ({"calls": 0}, lambda m, t: m.kept.update(calls=m.kept["calls"] + 1)),
}


class Keeps(Layers):
    def change(self, t: Tensor, *args: Any) -> Tensor:
        KEEPS[self.name][1](self, t)
        return t


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
@LAYERS
@pytest.mark.parametrize("name", KEEPS)
def test_an_attribute_is_as_after_one_forward_under_no_grad(
    name: str, layer: str, forwards: int, hidden: bool, training: bool
) -> None:
    model, x = Keeps().train(training), images()
    model.name, model.kept = name, copy.deepcopy(KEEPS[name][0])
    truth = copy.deepcopy(model)
    with torch.no_grad():
        for _ in range(2):
            truth(x)
    expected = plain("single", lambda: model(x)[:, 1], [model.get_submodule(layer)], SIZE)
    model.kept = copy.deepcopy(KEEPS[name][0])
    calls = count(model)
    for _ in range(2):
        with torch.no_grad(), saved_for_backward() as saved:
            found = NormGrad((lambda t: model(t)) if hidden else model, model.get_submodule(layer)).attribute(x, 1)
        torch.testing.assert_close(found, expected)
    assert len(calls) == 2 * forwards
    equal(model.kept, truth.kept)
    assert not graphs(model.kept)
    copy.deepcopy(model)
    gc.collect()
    assert not [shape for shape, box in saved if shape is not None and box() is not None]


class Recurrent(Layers):
    """Uses what it has kept of former calls: a list that grows, and a number."""

    def setup(self) -> None:
        self.cache: list[Tensor] = []
        self.calls = 0

    def change(self, t: Tensor, *args: Any) -> Tensor:
        self.cache.append(t)
        self.calls += 1
        return torch.stack(self.cache).sum(0) * self.calls


@LAYERS
def test_a_cache_that_the_model_uses(layer: str, forwards: int) -> None:
    model, batches = Recurrent().eval(), [images() for _ in range(3)]
    truth = copy.deepcopy(model)
    for x in batches:
        expected = plain("single", lambda x=x: truth(x)[:, 1], [truth.get_submodule(layer)], SIZE)
        truth.cache = [t.detach() for t in truth.cache]
        with torch.no_grad():
            torch.testing.assert_close(NormGrad(model, layer).attribute(x, 1), expected)
    assert len(model.cache) == model.calls == 3


@pytest.mark.parametrize("on", ["layer", "parent", "model"])
@LAYERS
def test_what_hooks_keep_outside_of_the_model_carries_no_graph(on: str, layer: str, forwards: int) -> None:
    model, x, kept = nn.Sequential(Keeps()).eval(), images(), []
    model[0].name, model[0].kept = "number", 0
    module = {"layer": model[0].get_submodule(layer), "parent": model[0], "model": model}[on]
    module.register_forward_hook(lambda m, args, out: kept.append({"out": out, "some": out[:1]}))
    with torch.no_grad():
        NormGrad(model, f"0.{layer}").attribute(x, 1)
    assert kept
    assert not graphs(kept)


def test_a_model_that_cannot_be_run_again_is_refused() -> None:
    calls: list[None] = []

    class Counts(Layers):
        def change(self, t: Tensor, *args: Any) -> Tensor:
            calls.append(None)
            return t * len(calls)

    model, x = Counts().eval(), images()
    expected = plain("single", lambda: model(x)[:, 1], [model.block], SIZE)
    calls.clear()
    torch.testing.assert_close(NormGrad(model, "block").attribute(x, 1), expected)
    with pytest.raises(RuntimeError, match="second forward pass, and the model did not give the same output again"):
        NormGrad(model, "handed_on").attribute(x, 1)


def test_a_kept_tensor_that_is_overwritten_cannot_be_put_back() -> None:
    class Averages(Layers):
        def setup(self) -> None:
            self.mean = torch.zeros(4, 1, 1)

        def change(self, t: Tensor, *args: Any) -> Tensor:
            with torch.no_grad():
                self.mean.mul_(0.5).add_(t.mean((0, 2, 3)).view(-1, 1, 1), alpha=0.5)
            return t - self.mean

    model, x = Averages().eval(), images()
    truth = copy.deepcopy(model)
    expected = plain("single", lambda: truth(x)[:, 1], [truth.block], SIZE)
    torch.testing.assert_close(NormGrad(model, "block").attribute(x, 1), expected)
    torch.testing.assert_close(model.mean, truth.mean)
    with pytest.raises(RuntimeError, match=r"overwritten a tensor of shape \(4, 1, 1\).*make it a buffer"):
        NormGrad(model, "handed_on").attribute(x, 1)


# Buffers


def average(m: nn.Module, t: Tensor) -> None:
    m.buffer.mul_(0.5).add_(t.mean((0, 2, 3)).view(-1, 1, 1), alpha=0.5)


BUFFERS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "in place, recorded": average,
    "in place": lambda m, t: average(m, t.detach()),
    "replaced": lambda m, t: setattr(m, "buffer", 0.5 * m.buffer + 0.5 * t.mean((0, 2, 3)).view(-1, 1, 1)),
    "unseen by autograd": lambda m, t: m.buffer.data.add_(t.detach().mean()),
    "one more": lambda m, t: m.register_buffer("more", t.detach().exp()),
    "a part": lambda m, t: m.buffer[:2].copy_(t[0, :2, :1, :1]),
}


class Buffered(Layers):
    def setup(self) -> None:
        self.register_buffer("buffer", torch.full((4, 1, 1), 0.3))
        self.inner = nn.BatchNorm2d(4)

    def change(self, t: Tensor, *args: Any) -> Tensor:
        BUFFERS[self.name](self, t)
        return self.inner(t - self.buffer)


@pytest.mark.filterwarnings("ignore:The model is in training mode")
@pytest.mark.parametrize("options", [{}, {"create_graph": True}])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
@LAYERS
@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_are_put_back(
    name: str, layer: str, forwards: int, hidden: bool, training: bool, options: dict[str, Any]
) -> None:
    model, x = Buffered().train(training), images()
    model.name = name
    truth = copy.deepcopy(model)
    expected = plain("single", lambda: truth(x)[:, 1], [truth.get_submodule(layer)], SIZE)
    versions = [b._version for b in model.buffers()]
    state = {k: (b, b.clone()) for k, b in model.named_buffers()}
    found = NormGrad((lambda t: model(t)) if hidden else model, model.get_submodule(layer)).attribute(
        x, 1, grad_kwargs=options
    )
    torch.testing.assert_close(found.detach(), expected)
    for k, b in model.named_buffers():
        assert b is state[k][0]
        assert torch.equal(b, state[k][1])
        assert not b.requires_grad
    assert [b._version for b in model.buffers()] == versions


def second_derivative(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """Of the map's sum by the first weight, from a forward recorded as a whole with copies of what it saves."""
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        kept: list[Tensor] = []
        handle = model.get_submodule(layer).register_forward_hook(lambda m, a, out: kept.append(out))
        score = model(x)[:, 1].sum()
        handle.remove()
        (g,) = torch.autograd.grad(score, kept[0], create_graph=True)
        (w,) = torch.autograd.grad((g.norm(dim=1) * kept[0].norm(dim=1)).sum(), model.stem.weight)
    return w


@pytest.mark.filterwarnings("ignore:The model is in training mode")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["in place", "replaced", "a part"])
def test_maps_can_be_differentiated_though_buffers_were_put_back(name: str, training: bool) -> None:
    model, x = Buffered().train(training), images()
    model.name = name
    expected = second_derivative(copy.deepcopy(model), "block", x)
    maps = NormGrad(model, "block").attribute(x, 1, grad_kwargs={"create_graph": True})
    (found,) = torch.autograd.grad(maps.sum(), model.stem.weight)
    torch.testing.assert_close(found, expected)


def test_a_backward_of_the_users_own_may_be_pending_in_evaluation_mode() -> None:
    model, x = Buffered().eval(), images()
    model.name = "in place"
    loss = model(x).square().sum() + (model.buffer * model.stem.weight.sum()).sum()
    NormGrad(model, "block").attribute(x, 1)
    loss.backward()
    assert model.stem.weight.grad is not None


def test_lazy_parts_are_made_as_by_a_forward() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 1), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)).eval()
    NormGrad(model, "1").attribute(images(), 0)
    assert isinstance(model[1], nn.BatchNorm2d)
    assert model[1].running_mean.shape == (4,)
    NormGrad(model, "0").attribute(images(), 0)


@pytest.mark.parametrize("name", ["expanded", "sparse", "grows"])
@pytest.mark.parametrize("how", [NormGrad, suggest_layers])
def test_buffers_that_do_not_lie_in_one_piece_or_change_their_size(name: str, how: Any) -> None:
    buffer = {
        "expanded": torch.tensor(0.5).expand(4),
        "sparse": torch.eye(4).to_sparse(),
        "grows": torch.full((4,), 0.5),
    }[name]

    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("held", buffer)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x).tanh().mean((2, 3))
            y = (self.held @ y.mT).mT if name == "sparse" else y * self.held[:4]
            if name == "grows":
                self.held.data = torch.cat([self.held, torch.ones(1)])
            return y

    model, x = Holds().eval(), torch.rand(2, 3, 8, 8)
    before = model.held.to_dense().clone()
    if how is suggest_layers:
        suggest_layers(model, x)
    else:
        g = 0.5 if name != "sparse" else 1.0
        activation = model.conv(x).detach()
        gradient = g * (1 - activation[:, 1].tanh().square()) / 36
        expected = activation.norm(dim=1, keepdim=True) * gradient.unsqueeze(1)
        torch.testing.assert_close(NormGrad(model, "conv").attribute(x, 1), expected)
    assert torch.equal(model.held.to_dense(), before)
