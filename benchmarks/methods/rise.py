"""RISE: the average of random masks, weighted by the probability of the target class on the masked film.

Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models. BMVC 2018, arXiv:1806.07421.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.methods.context import Context
from benchmarks.methods.method import Explain, Method
from benchmarks.methods.target_scores import target_probabilities

CELLS = 7
"""Cells of a mask along each side, as in the paper."""
KEPT = 0.5
"""Probability that a cell is kept, as in the paper."""


def random_masks(count: int, size: Sequence[int]) -> Iterator[Tensor]:
    """Masks of cells that are kept or not, enlarged bilinearly and shifted by up to a cell.

    Args:
        count: Number of masks.
        size: Height and width in pixels.

    Yields:
        Float ``(1, 1, *size)`` in [0, 1], on the CPU; numbers are drawn from torch's global generator.
    """
    height, width = size
    cells = [math.ceil(side / CELLS) for side in size]
    large = [(CELLS + 1) * cell for cell in cells]
    for _ in range(count):
        grid = (torch.rand(1, 1, CELLS, CELLS, device="cpu") < KEPT).float()
        down, right = (int(torch.randint(cell, (), device="cpu")) for cell in cells)
        mask = F.interpolate(grid, size=large, mode="bilinear", align_corners=False)
        yield mask[..., down : down + height, right : right + width]


def _rise(context: Context) -> Explain:
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros_like(images[:, :1])
        for mask in random_masks(context.budget, images.shape[-2:]):  # the same for all films of the batch
            mask = mask.to(images)
            probabilities = target_probabilities(context.network, images * mask, targets, context.outputs)
            total += probabilities.view(-1, 1, 1, 1) * mask
        return total / (context.budget * KEPT)

    return explain


METHODS = (Method("rise", "RISE", _rise, "perturbation", cost="perturbation", random=True),)
