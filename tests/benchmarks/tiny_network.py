"""A residual network of a thousandth of ResNet-18's size, with a count of the films that went through it."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

SIZE = 64


class TinyResNet(ResNet):
    """One block a stage, 4 to 10 channels; biases and statistics are not the trivial ones."""

    def __init__(self):
        super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=2)
        self.inplanes = 4
        self.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = self._make_layer(BasicBlock, 4, 1)
        self.layer2 = self._make_layer(BasicBlock, 6, 1, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 8, 1)
        self.layer4 = self._make_layer(BasicBlock, 10, 1)
        self.fc = nn.Linear(10, 2)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.2, 0.2)


class Chain(nn.Module):
    """A plain chain of layers that flattens by a function, as VGG does."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(nn.Linear(96, 8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 2))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def count_films(first):
    """Count the films that reach a network's first layer, in it and in its later copies; returns the counter."""
    counter = {"films": 0}

    def count(module, inputs):
        counter["films"] += len(inputs[0])

    first.register_forward_pre_hook(count)
    return counter


def snapshot(network):
    """Everything of a network that a method may not change."""
    return {
        "state": copy.deepcopy(network.state_dict()),
        "modules": [
            (
                name,
                type(module),
                module.training,
                getattr(module, "inplace", None),
                len(module._forward_hooks),
                len(module._forward_pre_hooks),
                len(module._backward_hooks),
                len(module._backward_pre_hooks),
                sorted(vars(module)),
            )
            for name, module in network.named_modules()
        ],
        "parameters": [(name, p.requires_grad, p.grad is None) for name, p in network.named_parameters()],
    }


def assert_same(before, after):
    assert after["modules"] == before["modules"]
    assert after["parameters"] == before["parameters"]
    assert list(after["state"]) == list(before["state"])
    assert all(torch.equal(value, before["state"][name]) for name, value in after["state"].items())
