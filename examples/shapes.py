"""Pictures and a small network that the examples share: coloured shapes on a busy background.

A picture shows one or two of four kinds of shape, and the network says which (one score per kind). Both come from a
seed; drawing and training take seconds on a CPU, and nothing is downloaded.
"""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from torch import Tensor, nn
from torchvision.models import VisionTransformer

KINDS = ("disc", "triangle", "cross", "ring")
SIZE = 64


def draw(count: int, seed: int, shapes: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Draw pictures.

    Args:
        count: Number of pictures.
        seed: The same seed draws the same pictures.
        shapes: Shapes in each picture, 1 or 2; by default either.

    Returns:
        Pictures (count, 3, SIZE, SIZE) in [0, 1]; labels (count, 4), 1 for the kinds that are there; masks
        (count, 4, SIZE, SIZE), where each kind is.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = functools.partial(_uniform, generator)
    pictures = _background(count, generator)
    axis = torch.linspace(-1, 1, SIZE)
    y, x = axis.view(1, -1, 1), axis.view(1, 1, -1)
    order = torch.rand(count, len(KINDS), generator=generator).argsort(1)
    both = torch.rand(count, generator=generator) < 0.5 if shapes is None else torch.full((count,), shapes == 2)
    masks = torch.zeros(count, len(KINDS), SIZE, SIZE)
    angle = uniform(count, 0, 2 * torch.pi)
    for i in range(2):
        # The two shapes lie on opposite sides of the middle, so that they do not touch.
        around = angle + i * torch.pi + uniform(count, -0.4, 0.4)
        away = uniform(count, 0.45, 0.65)
        u, v = x - (away * around.cos()).view(-1, 1, 1), y - (away * around.sin()).view(-1, 1, 1)
        turn, radius = uniform(count, -0.3, 0.3).view(-1, 1, 1), uniform(count, 0.24, 0.34).view(-1, 1, 1)
        u, v = (u * turn.cos() + v * turn.sin()) / radius, (v * turn.cos() - u * turn.sin()) / radius
        outlines = _outlines(u, v)[torch.arange(count), order[:, i]]
        mask = (-outlines * radius * SIZE / 2).add(0.5).clamp(0, 1)
        if i == 1:
            mask = mask * both.view(-1, 1, 1)
        hue = uniform(count, 0, 2 * torch.pi).view(-1, 1) + torch.tensor([0.0, 2.1, 4.2])
        colour = (0.5 + 0.5 * hue.cos()).view(-1, 3, 1, 1)
        pictures = pictures + mask.unsqueeze(1) * (colour - pictures)
        masks[torch.arange(count), order[:, i]] = mask
    return pictures, masks.amax((2, 3)).round(), masks


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _outlines(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to each kind of shape of radius 1, negative inside: (N, 4, SIZE, SIZE)."""
    r = (u**2 + v**2).sqrt()
    triangle = torch.stack([u * c + v * s for c, s in ((0.0, 1.0), (0.866, -0.5), (-0.866, -0.5))]).amax(0) - 0.55
    bar = torch.minimum(torch.maximum(u.abs() * 0.3, v.abs()), torch.maximum(u.abs(), v.abs() * 0.3)) - 0.3
    return torch.stack([r - 0.85, triangle, bar, (r - 0.75).abs() - 0.22], 1)


def _background(count: int, generator: torch.Generator) -> Tensor:
    """Blotches of several sizes, grey for the most part, on a pale or dark ground."""
    total = 0.35 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    for cells, grey, colour in ((3, 0.12, 0.06), (10, 0.1, 0.04), (32, 0.06, 0.02)):
        for channels, strength in ((1, grey), (3, colour)):
            noise = torch.randn(count, channels, cells, cells, generator=generator)
            total = total + strength * F.interpolate(noise, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return total.clamp(0, 1)


class Block(nn.Module):
    """Residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.last_relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.last_relu(x + self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x))))))


def build_network(classes: int = len(KINDS)) -> nn.Sequential:
    """A small residual network, untrained: ``stage1`` to ``stage4`` halve the resolution from 32 to 4."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    before = 3
    for number, channels in enumerate((16, 24, 32, 48), start=1):
        down = nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False)
        stages[f"stage{number}"] = nn.Sequential(down, nn.BatchNorm2d(channels), nn.ReLU(), Block(channels))
        before = channels
    stages["pool"] = nn.AdaptiveAvgPool2d(1)
    stages["flatten"] = nn.Flatten()
    stages["head"] = nn.Linear(before, classes)
    return nn.Sequential(stages)


@functools.cache
def trained_network() -> nn.Sequential:
    """The small network, trained; in one process only once."""
    torch.manual_seed(0)
    network = build_network()
    fit(network)
    return network.eval()


@functools.cache
def trained_transformer() -> VisionTransformer:
    """A small vision transformer on 8 x 8 patches; in one process trained only once.

    Transformers learn slowly from little, so the patches are not embedded by one linear map, but by the first stages of
    the trained convolutional network (a hybrid, as in the paper on vision transformers).
    """
    stages = copy.deepcopy(trained_network())[:3]
    torch.manual_seed(0)
    network = VisionTransformer(
        image_size=SIZE, patch_size=8, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=len(KINDS)
    )
    network.conv_proj = nn.Sequential(*stages, nn.Conv2d(32, 64, 1))
    fit(network, epochs=1, lr=2e-3)
    return network.eval()


def fit(network: nn.Module, epochs: int = 3, pictures: int = 2048, batch: int = 32, lr: float = 5e-3) -> None:
    """Train on some pictures and their mirror images."""
    drawn, labels, _ = draw(pictures, seed=1)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=epochs * (pictures // batch))
    for epoch in range(epochs):
        drawn = drawn.flip(3)
        order = torch.randperm(pictures, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(batch):
            loss = F.binary_cross_entropy_with_logits(network(drawn[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def show(axis: Axes, picture: Tensor, saliency: Tensor | None = None, title: str = "", signed: bool = False) -> None:
    """Show a picture (C, H, W), and over it a map (1, h, w) with its maximum marked; red and blue if it is signed."""
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
    height, width = picture.shape[1:]
    extent = (0, width, height, 0)
    grey = picture.mean(0)
    if saliency is None:
        axis.imshow(picture.permute(1, 2, 0) if len(picture) == 3 else grey, cmap="gray", vmin=0, vmax=1, extent=extent)
        return
    # Of low contrast, so that the colours are the map's and not the picture's.
    axis.imshow(0.3 + 0.35 * grey, cmap="gray", vmin=0, vmax=1, extent=extent)
    most = float(saliency.abs().max())
    options = {"cmap": "RdBu_r", "vmin": -most, "vmax": most} if signed else {"cmap": "inferno"}
    axis.imshow(saliency[0], alpha=0.68, extent=extent, interpolation="bilinear", **options)
    if saliency.min() == saliency.max():
        axis.set_xlabel("constant", fontsize=8, labelpad=1)
        return
    row, column = divmod(int(saliency[0].argmax()), saliency.shape[2])
    x, y = (column + 0.5) * width / saliency.shape[2], (row + 0.5) * height / saliency.shape[1]
    for colour, size in (("black", 3.0), ("cyan", 1.5)):
        axis.plot(x, y, "+", color=colour, ms=9, mew=size)


def label_row(axis: Axes, text: str) -> None:
    """Name a row of pictures at its left."""
    axis.set_ylabel(text, fontsize=10)
