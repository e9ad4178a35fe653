"""The network that meta-saliency moves in its tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """With tied weights, a buffer, dropout and a second, optional input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.conv3 = nn.Conv2d(4, 4, 3)
        self.conv3.weight = self.conv2.weight
        self.norm = nn.BatchNorm2d(4)
        self.relu2 = nn.ReLU()
        self.drop = nn.Dropout()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor, shift: Tensor | None = None, scale: float = 1) -> Tensor:
        x = self.relu1(self.conv1(x if shift is None else x + shift))
        x = self.relu2(self.norm(self.conv3(self.conv2(x))))
        return self.head(self.drop(x).mean((2, 3))) * scale


def net() -> Net:
    model = Net().double()
    model(torch.randn(4, 3, 12, 12).double())
    return model.eval()


def images(n: int = 3) -> Tensor:
    return torch.randn(n, 3, 12, 12).double()
