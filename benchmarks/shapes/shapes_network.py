"""The network that names the shapes of a picture, and its training.

A plain residual network with global average pooling, one score for each kind, independent of each other (sigmoid).
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from benchmarks.shapes.outlines import KINDS

CHANNELS = (16, 32, 64, 96)
"""Of the stages."""


class Block(nn.Module):
    """Two convolutions and what they are added to."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to maps of the same shape."""
        inner = self.relu1(self.norm1(self.conv1(x)))
        out: Tensor = self.relu2(x + self.norm2(self.conv2(inner)))
        return out


def build_shapes_network(outputs: int = len(KINDS)) -> nn.Sequential:
    """The network, untrained: ``stage1`` to ``stage4`` each halve the resolution, from 96 to 6.

    Takes pictures float (N, 3, H, W) in [0, 1], of any size from 16 on, and gives logits (N, outputs).
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    before = 3
    for number, channels in enumerate(CHANNELS, start=1):
        halve = nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False)
        stages[f"stage{number}"] = nn.Sequential(halve, nn.BatchNorm2d(channels), nn.ReLU(), Block(channels))
        before = channels
    stages["pool"] = nn.AdaptiveAvgPool2d(1)
    stages["flatten"] = nn.Flatten()
    stages["head"] = nn.Linear(before, outputs)
    return nn.Sequential(stages)
