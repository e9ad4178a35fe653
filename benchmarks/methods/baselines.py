"""Maps that know nothing of the network: what a method must beat."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.methods.context import Context
from benchmarks.methods.method import FAST, PAPER, Explain, Method
from benchmarks.metrics.frame import FRAME


def _center(context: Context) -> Explain:
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        n, _, height, width = images.shape
        y = torch.linspace(-1, 1, height, device=images.device).view(-1, 1)
        x = torch.linspace(-1, 1, width, device=images.device).view(1, -1)
        return (-(x**2) - y**2).expand(n, 1, height, width)

    return explain


def _random(context: Context) -> Explain:
    # At the size of the frame: stretching noise lowers most of its maxima, and would spare those at the border.
    # Drawn on the CPU, so that every device plays the same points; the caller seeds torch.
    return lambda images, targets: torch.rand(len(images), 1, FRAME, FRAME, device="cpu")


def _edge(context: Context) -> Explain:
    return lambda images, targets: sobel_magnitude(images.mean(dim=1, keepdim=True))


def _brightest(context: Context) -> Explain:
    return lambda images, targets: images.mean(dim=1, keepdim=True)


def sobel_magnitude(films: Tensor) -> Tensor:
    """Length of the Sobel gradient, the border repeated.

    Args:
        films: Float ``(N, 1, H, W)``.

    Returns:
        Same shape.
    """
    across = films.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([across, across.T])[:, None]
    gradient = F.conv2d(F.pad(films, (1, 1, 1, 1), mode="replicate"), kernels)
    length: Tensor = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return length


METHODS = (
    Method("center", "Center", _center, "baseline", cost="none", sets=PAPER),
    Method("random", "Random", _random, "baseline", cost="none", sets=PAPER, random=True),
    Method("edge", "Edge", _edge, "baseline", cost="none", sets=FAST),
    Method("brightest", "Brightest\npixel", _brightest, "baseline", cost="none", sets=FAST),
)
