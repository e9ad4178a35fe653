"""A pass is made again where its backward needs what was not kept, and does as if the first had not been."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from models import Net, images, plain, refused, untouched
from torch import Tensor, nn

from normgrad_attr import NormGrad


class OverwritesItsInput(nn.Module):
    """Normalises in place, and hands on a tensor that it uses in another way as well."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_on = nn.Identity()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.sub_(0.5).div_(0.25)
        aside = x.tanh()
        return (self.conv(self.handed_on(x).square()).mean((2, 3)).T * aside.sum((1, 2, 3))).T


def test_a_pass_that_is_made_again_starts_from_the_same_inputs() -> None:
    model, x = OverwritesItsInput().eval(), torch.rand(2, 3, 8, 8)
    before = x.clone()
    actual = NormGrad(model, "handed_on").attribute(x, 1)
    assert torch.equal(x, before)
    normalised = ((x - 0.5) / 0.25).requires_grad_()
    scores = model.conv(normalised.square()).mean((2, 3))[:, 1] * normalised.tanh().sum((1, 2, 3))
    (g,) = torch.autograd.grad(scores.sum(), normalised)
    torch.testing.assert_close(actual, g.norm(dim=1, keepdim=True) * normalised.norm(dim=1, keepdim=True))


class Noisy(nn.Module):
    """Draws random numbers, and counts its passes in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_on = nn.Identity()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("passes", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + torch.rand_like(x)
        aside = x.tanh().sum() * (1 + random.random() + np.random.random())  # noqa: NPY002
        self.passes += 1
        return self.passes * self.conv(self.handed_on(x)).square().mean((2, 3)) * aside


@pytest.mark.filterwarnings("ignore:The model is in training mode")
def test_a_pass_that_is_made_again_draws_the_same_numbers_and_finds_the_same_buffers() -> None:
    model, x = Noisy(), torch.rand(2, 3, 8, 8)
    maps, states = [], []
    for options in ({}, {"create_graph": True}):  # the second is recorded from the start, in one pass
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        maps.append(NormGrad(model, "handed_on").attribute(x, 1, grad_kwargs=options).detach())
        states.append((torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()))  # noqa: NPY002
    torch.testing.assert_close(*maps)
    assert torch.equal(states[0][0], states[1][0])
    assert states[0][1:] == states[1][1:]
    assert model.passes == 1


@pytest.mark.parametrize("target", [7, [0], None])
def test_a_wrong_target_costs_one_forward(target: object) -> None:
    net, x, passes = Net().eval(), images(), []
    net.conv1.register_forward_hook(lambda *_: passes.append(1))
    with pytest.raises(ValueError, match="arget"):
        NormGrad(net, "conv1").attribute(x, target)
    assert len(passes) == 1


@pytest.mark.filterwarnings("ignore:The model is in training mode")
def test_a_pending_backward_of_the_user_is_not_disturbed() -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()), torch.rand(2, 3, 8, 8)
    loss = model(x).sum()
    NormGrad(model, "2").attribute(x, 0)
    loss.backward()
    assert model[0].weight.grad is not None


class Around(nn.Module):
    """Something between a stem and the layer, and something behind it."""

    def __init__(self, before: Callable[[Tensor], Tensor], behind: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.layer, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.before, self.behind = before, behind

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.behind(self.layer(self.before(self.stem(x)))).mean((2, 3)))


def forces(t: Tensor) -> Tensor:
    """The derivative of an energy, as molecular models compute it."""
    with torch.enable_grad():
        t = t if t.requires_grad else t.requires_grad_()
        return t + torch.autograd.grad(t.tanh().square().sum(), t, create_graph=True)[0]


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("function", [forces, lambda t: t + torch.func.grad(lambda s: s.tanh().square().sum())(t)])
def test_a_model_that_differentiates_by_itself(where: str, function: Callable[[Tensor], Tensor]) -> None:
    model = Around(**{"before": lambda t: t, "behind": lambda t: t, where: function}).eval()
    x, calls = images(), []
    expected = plain("single", lambda: model(x)[:, 1], [model.layer], (12, 12))
    model.register_forward_pre_hook(lambda *_: calls.append(None))
    torch.testing.assert_close(NormGrad(model, "layer").attribute(x, 1), expected)
    assert len(calls) == (1 if (function, where) == (forces, "behind") else 2)


@pytest.mark.parametrize(
    "activation",
    [nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.ReLU6, nn.ELU, nn.LeakyReLU, nn.Dropout, "mul", "div"],
)
@pytest.mark.parametrize("layer", ["stem", "layer", "gate"])
def test_what_is_overwritten_before_the_layer(activation: object, layer: str) -> None:
    """Its former values are not kept; where a layer's own gradient needs them, the pass is made again."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.gate(x)
            self.own = overwrite(y * 2)
            return y

    def overwrite(t: Tensor) -> Tensor:
        if activation == "mul":
            return t.mul_(t.sigmoid())
        if activation == "div":
            t /= t.sigmoid() + 1
            return t
        return activation(inplace=True).eval()(t)

    model, x = Around(lambda t: model.gated(overwrite(t)), lambda t: t * model.gated.own).eval(), images()
    model.gated = Gated().eval()
    module = model.gated if layer == "gate" else model.get_submodule(layer)
    expected = plain("single", lambda: model(x)[:, 1], [module], (12, 12))
    model.gated.own = None
    with untouched(model, x):
        torch.testing.assert_close(NormGrad(model, module).attribute(x, 1), expected)
        assert not model.gated.own.requires_grad
        model.gated.own = None


@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_model_of_words_whose_layer_keeps_a_value(frozen: bool) -> None:
    """Nothing of it requires a gradient: the graph begins at the embedding."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.block, self.head = nn.Embedding(9, 4), Keeping(), nn.Linear(4, 2)

        def forward(self, i: Tensor) -> Tensor:
            return self.head((self.block(self.embedding(i)) * self.block.gate).mean(1))

    class Keeping(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            self.gate = y.sigmoid()
            return y

    model, ids = Words().eval(), torch.tensor([[1, 2, 8]])
    y = model.block(model.embedding(ids)).detach().requires_grad_()
    (g,) = torch.autograd.grad(model.head((y * y.sigmoid()).mean(1))[:, 1].sum(), y)
    model.requires_grad_(not frozen)
    found = NormGrad(model, "block", channel_dim=-1).attribute(ids, 1)
    torch.testing.assert_close(found[:, 0], y.detach().norm(dim=-1) * g.norm(dim=-1))
    assert not model.block.gate.requires_grad


def test_a_layer_inside_of_a_transform_is_refused() -> None:
    model, x = Net().eval(), images()
    with refused(model, x, error=RuntimeError, match=r"Layer Conv2d runs inside of a transform of torch.func.*outside"):
        NormGrad(lambda x: torch.vmap(lambda one: model(one[None])[0])(x), model.conv1).attribute(x, 1)
