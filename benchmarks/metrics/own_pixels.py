"""The Pointing Game at the size that an image has, where a tolerance is one of its own pixels.

TorchRay and CheXlocalize play so. An image need not be square, and differs from others in size, so maps are stretched
one by one.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from benchmarks.metrics.frame import ROUNDING
from benchmarks.metrics.pointing_game import draw_maximum


def point_on_image(
    unit: Tensor, mask: np.ndarray, *, protocol: str = "fair", seed: int = 0, image_id: int = 0, constant: bool = False
) -> tuple[int, int, float]:
    """Stretch a map onto its image and choose a maximum.

    Args:
        unit: Float64 ``(h, w)``, the map scaled to [0, 1].
        mask: The annotation at the image's size, bool ``(H, W)``.
        protocol: As of :func:`benchmarks.metrics.pointing_game.choose_maxima`.
        seed: Of the choice between ties.
        image_id: Number of the image, of the same choice.
        constant: Whether the map says nothing of where: it is one tie over the image.

    Returns:
        Column and row of the maximum, and its distance to the nearest annotated pixel, in pixels of the image;
        infinity where there is none.

    Example:
        >>> import torch
        >>> mask = np.zeros((2, 8), dtype=bool)
        >>> mask[0, 0] = True
        >>> point_on_image(torch.tensor([[0.0, 0, 0, 1], [0, 0, 0, 0]]).double(), mask, protocol="paper")
        (7, 0, 7.0)
    """
    width = mask.shape[1]
    values = F.interpolate(unit[None, None], size=mask.shape, mode="bilinear", align_corners=False).flatten()
    ties = (values >= values.amax() - ROUNDING).nonzero()[:, 0]
    index = draw_maximum(ties[:0] if constant else ties, values.numel(), protocol, seed, image_id)
    row, column = divmod(index, width)
    if mask[row, column]:
        return column, row, 0.0
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return column, row, float("inf")
    return column, row, float(np.sqrt(((rows - row) ** 2 + (columns - column) ** 2).min()))
