"""Intersection over union of an annotation and what a map exceeds a threshold on: CheXlocalize's mIoU.

The threshold is a share of the way from the map's minimum to its maximum: one that is tuned for each class on other
images, or Otsu's for each map.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Thresholds that are tried, as shares of the way from a map's minimum to its maximum."""
_BINS = 256


def threshold_ious(plane: Tensor, mask: Tensor, thresholds: tuple[float, ...] = THRESHOLDS) -> Tensor:
    """Intersection over union at several thresholds.

    Args:
        plane: The map in the frame, float ``(F, F)`` from 0 to 1.
        mask: The annotation, bool ``(F, F)``, not empty.
        thresholds: Pixels above count.

    Returns:
        float64, one value a threshold.

    Example:
        >>> plane = torch.tensor([[0.0, 0.4], [0.6, 1.0]])
        >>> threshold_ious(plane, plane > 0.5, (0.3, 0.5, 0.9))
        tensor([0.6667, 1.0000, 0.5000], dtype=torch.float64)
    """
    edges = torch.tensor(thresholds, dtype=torch.float64, device=plane.device)
    inside, everywhere = (_above(values, edges) for values in (plane[mask], plane.flatten()))
    return inside / (everywhere + mask.sum() - inside)


def _above(values: Tensor, edges: Tensor) -> Tensor:
    """How many values exceed each edge."""
    order = values.double().contiguous().sort().values
    return (len(values) - torch.searchsorted(order, edges, right=True)).double()


def otsu_threshold(plane: Tensor) -> float:
    """The threshold that parts a map's values into two groups of the least variance inside each.

    Args:
        plane: Float, any shape, from 0 to 1.

    Returns:
        The threshold; values above are the upper group. 0 for a constant map.

    References:
        Otsu: A Threshold Selection Method from Gray-Level Histograms. IEEE Trans. Syst. Man Cybern. 1979, 9, 62.

    Example:
        >>> round(otsu_threshold(torch.tensor([0.0, 0.1, 0.1, 0.9, 1.0])), 1) in (0.1, 0.2)
        True
    """
    counts, edges = np.histogram(plane.detach().cpu().double().numpy(), bins=_BINS, range=(0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    mass = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass[:-1] / below - (mass[-1] - mass[:-1]) / above) ** 2
    between = np.nan_to_num(between, nan=0.0)
    return float(edges[1 + int(between.argmax())]) if between.max() > 0 else 0.0
