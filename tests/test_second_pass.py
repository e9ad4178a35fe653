"""A pass that is made again, fully recorded, does as if the first had not been."""

from __future__ import annotations

import pytest
import torch
from models import Net, images
from torch import nn

from normgrad_attr import NormGrad


class OverwritesItsInput(nn.Module):
    """Normalises in place, and hands a tensor on: a lazily opened pass does not do."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_on = nn.Identity()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.sub_(0.5).div_(0.25)
        return self.conv(self.handed_on(x).square()).mean((2, 3))


def test_a_pass_that_is_made_again_starts_from_the_same_inputs() -> None:
    model, x = OverwritesItsInput().eval(), torch.rand(2, 3, 8, 8)
    before = x.clone()
    actual = NormGrad(model, "handed_on").attribute(x, 1)
    assert torch.equal(x, before)
    normalised = ((x - 0.5) / 0.25).requires_grad_()
    (g,) = torch.autograd.grad(model.conv(normalised.square()).mean((2, 3))[:, 1].sum(), normalised)
    torch.testing.assert_close(actual, g.norm(dim=1, keepdim=True) * normalised.norm(dim=1, keepdim=True))


class Noisy(nn.Module):
    """Draws random numbers, and counts its passes in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_on = nn.Identity()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("passes", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.handed_on(x + torch.rand_like(x))
        self.passes += 1
        return self.passes * self.conv(x).square().mean((2, 3))


@pytest.mark.filterwarnings("ignore:The model is in training mode")
def test_a_pass_that_is_made_again_draws_the_same_numbers_and_finds_the_same_buffers() -> None:
    model, x = Noisy(), torch.rand(2, 3, 8, 8)
    maps, states = [], []
    for options in ({}, {"create_graph": True}):  # the second is recorded from the start, in one pass
        torch.manual_seed(0)
        maps.append(NormGrad(model, "handed_on").attribute(x, 1, grad_kwargs=options).detach())
        states.append(torch.get_rng_state())
    torch.testing.assert_close(*maps)
    assert torch.equal(*states)
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
