"""The places where a map is high: separate maxima, and the boxes around them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from normgrad_attr._combine import minmax


@dataclass(frozen=True)
class Peak:
    """A place where a map is high, in pixels of the map.

    Attributes:
        x: Column of the maximum.
        y: Row of the maximum.
        score: Its height: 1 for the highest point of the map, 0 for the lowest.
        box: (x1, y1, x2, y2) around the area that is at least half as high, x2 and y2 exclusive.

    Examples:
        >>> from normgrad_attr.functional import Peak
        >>> Peak(x=3, y=2, score=1.0, box=(2, 2, 5, 4)).box
        (2, 2, 5, 4)
    """

    x: int
    y: int
    score: float
    box: tuple[int, int, int, int]


def find_peaks(maps: Tensor, *, most: int = 5, least: float = 0.3, distance: int | None = None) -> list[list[Peak]]:
    """Find separate peaks of each map, the highest first.

    A pixel is a peak when none in the square of ``distance`` around it is higher; its area is what is connected with
    it at half its height, by sides, and nearer to it than to any other peak.

    Args:
        maps: (N, 1, height, width), any floating dtype, such as :class:`~normgrad_attr.CombinedNormGrad` gives.
        most: Largest number of peaks of one map.
        least: Lowest score of a peak, between 0 and 1.
        distance: Between two peaks, in pixels of the map; a tenth of the longer side by default.

    Returns:
        Peaks of each map; none for a map that is constant or not finite.

    Raises:
        ValueError: Maps of another shape, or numbers out of range.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import find_peaks
        >>> maps = torch.zeros(1, 1, 8, 8)
        >>> maps[0, 0, 2, 1:4], maps[0, 0, 6, 6] = torch.tensor([0.6, 1.0, 0.4]), 0.5
        >>> [(peak.x, peak.y, peak.score, peak.box) for peak in find_peaks(maps)[0]]
        [(2, 2, 1.0, (1, 2, 3, 3)), (6, 6, 0.5, (6, 6, 7, 7))]
    """
    found = []
    points_of_maps = find_points(maps, most=most, least=least, distance=distance)
    y, x = (torch.arange(side, device=maps.device) for side in maps.shape[2:])
    for unit, points in zip(_units(maps), points_of_maps, strict=True):
        away = [(x - x0) ** 2 + (y[:, None] - y0) ** 2 for x0, y0, _ in points]
        nearest = torch.stack(away).argmin(0) if away else None
        found.append(
            [Peak(x0, y0, s, _box((unit >= s / 2) & (nearest == i), x0, y0)) for i, (x0, y0, s) in enumerate(points)]
        )
    return found


def find_points(
    maps: Tensor, *, most: int = 5, least: float = 0.3, distance: int | None = None
) -> list[list[tuple[int, int, float]]]:
    """Find the peaks without the boxes around them, which take most of the time.

    Args:
        maps: (N, 1, height, width), float, as for :func:`find_peaks`.
        most: See there.
        least: See there.
        distance: See there.

    Returns:
        (x, y, score) of each peak of each map, the highest first.

    Raises:
        ValueError: Maps of another shape, or numbers out of range.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import find_points
        >>> find_points(torch.eye(3)[None, None] * torch.tensor([1.0, 3.0, 2.0]), distance=1)
        [[(1, 1, 1.0)]]
    """
    if maps.dim() != 4 or maps.shape[1] != 1:
        raise ValueError(f"Peaks are found on maps of shape (N, 1, height, width), these have {tuple(maps.shape)}.")
    if most < 1 or not 0 <= least <= 1 or (distance is not None and distance < 0):
        raise ValueError(
            f"most must be at least 1, least between 0 and 1 and distance not negative; given were {most}, {least} and "
            f"{distance}."
        )
    reach = max(1, round(max(maps.shape[2:]) / 10)) if distance is None else distance
    # One by one: a map stays in the processor's caches, where a batch of large ones does not.
    return [_points(unit, most, least, reach) for one in torch.split(maps, 1) for unit in _units(one)]


def _units(maps: Tensor) -> Tensor:
    """(N, height, width) float64 in [0, 1]; zeros for a map that is constant or not finite."""
    units = minmax(maps.detach().double())[:, 0]
    return torch.where(units.isfinite().all(2).all(1)[:, None, None], units, 0.0)


def _points(unit: Tensor, most: int, least: float, reach: int) -> list[tuple[int, int, float]]:
    if not unit.any():
        return []
    y, x = ((unit == _highest_around(unit, reach)) & (unit >= least)).nonzero(as_tuple=True)
    order = unit[y, x].argsort(descending=True, stable=True)
    y, x = y[order], x[order]
    points: list[tuple[int, int, float]] = []
    while len(y) and len(points) < most:
        points.append((int(x[0]), int(y[0]), float(unit[y[0], x[0]])))
        # Only those of the same plateau are that near.
        apart = (x - x[0]) ** 2 + (y - y[0]) ** 2 > reach**2
        y, x = y[apart], x[apart]
    return points


def _highest_around(unit: Tensor, reach: int) -> Tensor:
    """The largest value in the square of ``reach`` around each pixel."""
    size = 2 * reach + 1
    highest = F.pad(unit, (reach,) * 4, value=-torch.inf)
    for dim in (0, 1):
        width = 1
        while width < size:  # the largest of two overlapping windows is that of the window which both make
            step = min(width, size - width)
            length = highest.shape[dim] - step
            highest = torch.maximum(highest.narrow(dim, 0, length), highest.narrow(dim, step, length))
            width += step
    return highest


def _box(area: Tensor, x: int, y: int) -> tuple[int, int, int, int]:
    """Box around the part of a mask that is connected with a pixel of it."""
    left, top, right, bottom = _bounds(area)
    area = area[top:bottom, left:right]
    part, before = torch.zeros_like(area), torch.zeros_like(area)
    part[y - top, x - left] = True
    while not torch.equal(part, before):
        part, before = _along_rows(_along_rows(part, area).mT, area.mT).mT, part
    x1, y1, x2, y2 = _bounds(part)
    return x1 + left, y1 + top, x2 + left, y2 + top


def _bounds(mask: Tensor) -> tuple[int, int, int, int]:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _along_rows(part: Tensor, area: Tensor) -> Tensor:
    """All runs of ``area`` in its rows that ``part`` touches."""
    runs = (~F.pad(area, (1, 0))).flatten().cumsum(0).view(len(area), -1)[:, 1:]  # numbered, walls with the run behind
    touched = torch.zeros(int(runs[-1, -1]) + 1, dtype=torch.bool, device=area.device)
    touched[runs[part]] = True
    return touched[runs] & area
