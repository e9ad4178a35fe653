"""Pictures and networks that the examples share: coloured shapes on a busy background.

Pictures and network are those of the benchmark's preset ``shapes``: a score for each of six kinds, independent of the
others. The network is trained once, in a minute, and kept in your cache; nothing is downloaded.
"""

from __future__ import annotations

import copy
import functools
import itertools

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from benchmarks.data.annotations import rasterize
from benchmarks.shapes.draw_picture import SIZE, draw_picture
from benchmarks.shapes.outlines import KINDS
from benchmarks.shapes.trained_network import Lesson, fit, trained_network
from normgrad_attr.functional import is_constant

__all__ = ["KINDS", "SIZE", "draw", "label_row", "show", "trained_network", "trained_transformer"]


def draw(count: int, seed: int, shapes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw pictures that the network has not seen.

    Args:
        count: Number of pictures.
        seed: From 10 on; the same seed draws the same pictures.
        shapes: Shapes in each, all of different kinds.

    Returns:
        Pictures (count, 3, SIZE, SIZE) in [0, 1]; labels (count, 6), 1 for the kinds that are there; masks
        (count, 6, SIZE, SIZE), where each kind is.
    """
    drawn = (draw_picture(seed, number, shapes) for number in itertools.count())
    pictures = list(itertools.islice((picture for picture in drawn if len(picture.kinds) == shapes), count))
    pixels = torch.from_numpy(np.stack([picture.pixels for picture in pictures])).permute(0, 3, 1, 2)
    masks = torch.zeros(count, len(KINDS), SIZE, SIZE)
    for mask, picture in zip(masks, pictures, strict=True):
        for shape in picture.shapes:
            mask[KINDS.index(shape.content)] = torch.from_numpy(rasterize([shape], SIZE, SIZE, SIZE, "shape"))
    return pixels.float() / 255, masks.amax((2, 3)), masks


@functools.cache
def trained_transformer() -> VisionTransformer:
    """A small vision transformer on 8 x 8 patches; in one process trained only once.

    Transformers learn slowly from little, so the patches are not embedded by one linear map, but by the first stages of
    the trained convolutional network (a hybrid, as in the paper on vision transformers).
    """
    stages = copy.deepcopy(trained_network())[:3]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VisionTransformer(
            image_size=SIZE, patch_size=8, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=len(KINDS)
        )
        network.conv_proj = nn.Sequential(*stages, nn.Conv2d(64, 64, 1))
    fit(network, (Lesson(seed=6, pictures=1600, epochs=2, rate=2e-3),))
    return network.eval()


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
    constant = bool(is_constant(saliency[None]))
    if constant:
        saliency = saliency.mean().expand_as(saliency)  # nothing of its rounding
    most = float(saliency.abs().max())
    options = {"cmap": "RdBu_r", "vmin": -most, "vmax": most} if signed else {"cmap": "inferno"}
    axis.imshow(saliency[0], alpha=0.68, extent=extent, interpolation="bilinear", **options)
    if constant:
        axis.set_xlabel("constant", fontsize=8, labelpad=1)
        return
    row, column = divmod(int(saliency[0].argmax()), saliency.shape[2])
    x, y = (column + 0.5) * width / saliency.shape[2], (row + 0.5) * height / saliency.shape[1]
    for colour, size in (("black", 3.0), ("cyan", 1.5)):
        axis.plot(x, y, "+", color=colour, ms=9, mew=size)


def label_row(axis: Axes, text: str) -> None:
    """Name a row of pictures at its left."""
    axis.set_ylabel(text, fontsize=10)
