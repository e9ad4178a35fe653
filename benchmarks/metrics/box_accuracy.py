"""MaxBoxAcc: does the box around the largest part of a map above a threshold match an annotated box?

Choe, Oh, Lee, Chun, Akata, Shim: *Evaluating Weakly Supervised Object Localization Methods Right.* CVPR 2020,
arXiv:2001.07437, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects, label

from benchmarks.metrics.threshold_iou import THRESHOLDS

MATCH = 0.5
"""Intersection over union from which on a box is right."""

Box = tuple[float, float, float, float]


def box_ious(plane: np.ndarray, boxes: Sequence[Box], thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """Intersection over union of the map's box with the annotated box that it matches best, at several thresholds.

    Args:
        plane: The map in the frame, float ``(F, F)`` from 0 to 1.
        boxes: Annotated (x1, y1, x2, y2) in pixels of the frame, ends exclusive.
        thresholds: Pixels at or above count; the box is that around the largest connected part of them.

    Returns:
        float64, one value a threshold.

    Example:
        >>> plane = np.zeros((4, 4))
        >>> plane[1:3, 1:3] = 1.0
        >>> box_ious(plane, [(1, 1, 3, 3), (0, 0, 1, 1)], [0.5])
        array([1.])
    """
    found = np.zeros(len(thresholds))
    for place, threshold in enumerate(thresholds):
        parts, count = label(plane >= threshold, structure=np.ones((3, 3)))
        if not count:
            continue
        rows, columns = find_objects(parts)[int(np.bincount(parts.ravel())[1:].argmax())]
        own = (columns.start, rows.start, columns.stop, rows.stop)
        found[place] = max((_iou(own, box) for box in boxes), default=0.0)
    return found


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
