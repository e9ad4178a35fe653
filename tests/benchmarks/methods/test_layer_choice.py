from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from benchmarks.methods.layer_choice import Layers, choose_layers
from benchmarks.run.errors import UserError


@pytest.mark.parametrize(
    ("arch", "single", "combined"),
    [
        ("resnet34", "layer4.2", ("layer2.0", "layer3.0", "layer4.0", "layer4.2")),  # docs/howto/reproduce.md
        ("resnet18", "layer4.1", ("layer2.0", "layer3.0", "layer4.0", "layer4.1")),
        # Strides of 2 are in blocks 2, 4 and 9; 12 is the last convolution.
        ("mobilenet_v3_small", "features.12", ("features.2", "features.4", "features.9", "features.12")),
        ("googlenet", "inception5b", ("inception3a", "inception4a", "inception5a", "inception5b")),
    ],
)
def test_first_block_of_the_last_resolutions_and_the_last_block(arch, single, combined):
    options = {"aux_logits": False, "init_weights": False} if arch == "googlenet" else {}
    network = models.get_model(arch, weights=None, num_classes=2, **options).eval()
    layers = choose_layers(network, 128)
    assert (layers.single, layers.combined) == (single, combined)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_plain_chain_of_convolutions_as_in_vgg():
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            steps = []
            for channels in (3, 4, 5, 6):  # modules 0 to 3, 4 to 7, 8 to 11, 12 to 15: two layers, then pooling
                conv = nn.Conv2d(channels, channels + 1, 3, padding=1)
                steps += [conv, nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout()]
            self.features = nn.Sequential(*steps)
            self.head = nn.Linear(7, 2)

        def forward(self, x):
            return self.head(self.features(x).mean(dim=(2, 3)))

    # Poolings are no blocks: the last ReLU before the last pooling is the last block.
    assert choose_layers(Chain().eval(), 64) == Layers(
        "features.13", ("features.4", "features.8", "features.12", "features.13")
    )


def test_networks_with_channels_last_are_refused_with_a_reason():
    swin = models.SwinTransformer([4, 4], 8, [1, 1], [1, 1], [2, 2], num_classes=2).eval()
    with pytest.raises(UserError, match="no blocks with maps"):
        choose_layers(swin, 64)


def test_tracing_leaves_the_random_state_alone():
    network = models.mobilenet_v3_small(weights=None, num_classes=2).eval()
    state = torch.get_rng_state()
    choose_layers(network, 64)
    assert torch.equal(torch.get_rng_state(), state)
