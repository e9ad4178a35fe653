"""Finds the places where a saliency map is high."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from normgrad_attr.functional import is_constant


@dataclass(frozen=True)
class Peak:
    """One place.

    Attributes:
        x: Column of the maximum.
        y: Row of the maximum.
        score: Its height: 1 for the highest point of the map, 0 for the lowest.
        box: (x1, y1, x2, y2) around the area that is at least half as high, x2 and y2 exclusive.
    """

    x: int
    y: int
    score: float
    box: tuple[int, int, int, int]


def find_peaks(
    saliency: npt.NDArray[np.floating], *, most: int = 5, least: float = 0.3, distance: int | None = None
) -> list[Peak]:
    """Find separate peaks of a map, the highest first.

    A pixel is a peak when none in the square of ``distance`` around it is higher; its area is what is connected
    with it at half its height, and nearer to it than to any other peak.

    Args:
        saliency: (height, width), any float dtype.
        most: Largest number of peaks.
        least: Lowest score of a peak.
        distance: Between two peaks, in pixels; a tenth of the longer side by default.

    Returns:
        Peaks; none when the map is constant or not finite.
    """
    unit = _unit(saliency)
    tops = _tops(unit, most, least, distance)
    if not tops:
        return []
    rows, columns = np.indices(unit.shape)
    nearest = np.argmin([np.hypot(columns - x, rows - y) for x, y in tops], axis=0)
    return [_peak(unit, x, y, nearest == i) for i, (x, y) in enumerate(tops)]


def find_points(
    saliency: npt.NDArray[np.floating], *, most: int, least: float, distance: int | None = None
) -> list[tuple[int, int, float]]:
    """The same peaks without the areas around them, which take nearly all of the time.

    Returns:
        (x, y, score) of each, the highest first; see :func:`find_peaks` for the arguments.
    """
    unit = _unit(saliency)
    return [(x, y, float(unit[y, x])) for x, y in _tops(unit, most, least, distance)]


def _unit(saliency: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The map scaled to [0, 1]; zeros when it is constant or not finite."""
    saliency = np.asarray(saliency, dtype=np.float64)
    if not np.isfinite(saliency).all() or is_constant(torch.from_numpy(saliency)[None]):
        return np.zeros_like(saliency)
    unit: npt.NDArray[np.float64] = (saliency - saliency.min()) / np.ptp(saliency)
    return unit


def _tops(unit: npt.NDArray[np.float64], most: int, least: float, distance: int | None) -> list[tuple[int, int]]:
    if not unit.any():
        return []
    reach = max(1, round(max(unit.shape) / 10)) if distance is None else distance
    highest_around = ndimage.maximum_filter(unit, size=2 * reach + 1)
    candidates = np.argwhere((unit == highest_around) & (unit >= least))
    tops: list[tuple[int, int]] = []
    for y, x in candidates[np.argsort(-unit[tuple(candidates.T)], kind="stable")].tolist():
        on_taken_plateau = any(np.hypot(x - other_x, y - other_y) <= reach for other_x, other_y in tops)
        if not on_taken_plateau:
            tops.append((x, y))
        if len(tops) == most:
            break
    return tops


def _peak(unit: npt.NDArray[np.float64], x: int, y: int, own: npt.NDArray[np.bool_]) -> Peak:
    area = ndimage.label((unit >= unit[y, x] / 2) & own)[0]
    rows, columns = np.nonzero(area == area[y, x])
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return Peak(x, y, float(unit[y, x]), box)
