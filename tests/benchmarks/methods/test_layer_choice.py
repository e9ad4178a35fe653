from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from benchmarks.methods import Context
from benchmarks.methods.layer_choice import Layers, choose_layers, named_layers
from benchmarks.run.errors import UserError


@pytest.mark.parametrize(
    ("arch", "single", "combined"),
    [
        ("resnet34", "layer4.2", ("layer2.0", "layer3.0", "layer4.0", "layer4.2")),  # docs/howto/reproduce.md
        ("resnet18", "layer4.1", ("layer2.0", "layer3.0", "layer4.0", "layer4.1")),
        # Strides of 2 are in blocks 0, 1, 2, 4 and 9; 12 is the last convolution.
        ("mobilenet_v3_small", "features.12", ("features.1", "features.3", "features.8", "features.12")),
    ],
)
def test_resnets_as_in_the_paper_and_others_by_the_last_block_of_each_resolution(arch, single, combined):
    network = models.get_model(arch, weights=None, num_classes=2).eval()
    layers = Context(network, 128).layers
    assert (layers.single, layers.combined) == (single, combined)
    assert not any(module._forward_hooks for module in network.modules())


class Tokens(nn.Module):
    """Patches of 8 pixels, then layers with the channels last."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, 8)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.mix(self.patches(x).permute(0, 2, 3, 1)).relu().mean(dim=(1, 2)))


def test_methods_that_want_channels_in_front_refuse_others_with_a_reason():
    context = Context(Tokens().eval(), 64, layers=Layers("mix", ("patches", "mix")))
    with pytest.raises(UserError, match=r"the layer mix gives \(2, 8, 8, 6\)"):
        context.map_layer()
    assert context.map_layer(-2) == "patches"


def test_a_layer_that_is_not_there_is_named_with_those_near_it():
    with pytest.raises(UserError, match=r"no layer 'layer5.0'; near it are layer4.0, layer3.0, layer2.0"):
        named_layers(models.resnet18(weights=None), ["layer4.1", "layer5.0"])


def test_a_network_without_maps_is_refused_with_a_reason():
    with pytest.raises(UserError, match="no layers are found"):
        choose_layers(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(2, 3, 2, 2))


def test_the_random_state_is_left_alone():
    network = models.mobilenet_v3_small(weights=None, num_classes=2).eval()
    state = torch.get_rng_state()
    _ = Context(network, 64).layers
    assert torch.equal(torch.get_rng_state(), state)
