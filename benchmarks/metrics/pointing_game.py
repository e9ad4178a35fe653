"""The Pointing Game: does the maximum of a saliency map lie in, or near, an annotated object?

Everything happens in one square frame (600 x 600 by default) onto which map and annotation are
stretched, so that a tolerance in pixels means the same at any working size of the network.

Two protocols (Ozer & Oksuz, MIDL 2021, and a repaired version of it) differ in two places:

========== ==================================== ==============================================
protocol   maps of gradient methods             several pixels share the maximum
========== ==================================== ==============================================
``paper``  clipped at their 99th percentile     the first in raster order
``fair``   as they are                          one of them by chance, seeded for each image
========== ==================================== ==============================================

The clip leaves thousands of ties at the maximum of a gradient map, and raster order then prefers
the top of the film; that handicaps those methods and is why ``fair`` exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import FRAME, Pieces, Stretched, stretch

TOLERANCES = (0, 15, 25)
PROTOCOLS = ("paper", "fair")
MAIN_TOLERANCE, MAIN_PROTOCOL = 15, "fair"
"""For headlines and figures; the tolerance is that of the extension of the paper, and of most other work."""


@dataclass(frozen=True)
class Maxima:
    """Where each of N maps is largest.

    Attributes:
        points: int64 ``(N, 2)``, column ``x`` and row ``y`` in the frame; ``(-1, -1)`` for a
            map that is not finite.
        finite: bool ``(N,)``, as in :class:`Stretched`.
        constant: bool ``(N,)``, as in :class:`Stretched`.

    Example:
        >>> find_maxima(torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]]), frame=2).points
        tensor([[1, 0]])
    """

    points: Tensor
    finite: Tensor
    constant: Tensor

    def distances(self, annotations: Annotations) -> Tensor:
        """How far the maxima lie from the annotations.

        Args:
            annotations: Of the N films.

        Returns:
            Pixels of the frame, float64 ``(N,)``; NaN for a map that is not finite.
        """
        return annotations.distances(self.points.clamp(min=0)).where(self.finite, torch.nan)


def choose_maxima(
    stretched: Stretched,
    *,
    protocol: str = "fair",
    seed: int = 0,
    image_ids: Sequence[int] | None = None,
    highest: Pieces | None = None,
) -> Maxima:
    """Choose one maximum of each map.

    Args:
        stretched: N maps.
        protocol: ``"paper"`` takes the first maximum in raster order, ``"fair"`` one of the
            maxima by chance. A constant map is one tie over the whole frame.
        seed: of the choice between ties.
        image_ids: N numbers that name the images, so that the choice depends on ``seed`` and
            the image alone, not on the batch it came in; positions in the batch by default.
        highest: pieces of the maps, if they are known already, with their maxima.

    Returns:
        The points, and which maps were finite and constant.

    Raises:
        ValueError: Unknown protocol.

    Example:
        >>> two = stretch(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]), frame=2)
        >>> choose_maxima(two, protocol="paper").points  # the first of two equal ones
        tensor([[1, 0]])
    """
    check_protocol(protocol)
    maps, frame = len(stretched.unit), stretched.frame
    ids = range(maps) if image_ids is None else image_ids
    pieces = stretched.highest([1] * maps) if highest is None else highest
    points = []
    for image_id, ties, finite in zip(ids, pieces.ties, stretched.finite.tolist(), strict=True):
        index = draw_maximum(ties, frame**2, protocol, seed, image_id)
        points.append((index % frame, index // frame) if finite else (-1, -1))
    return Maxima(torch.tensor(points, device=stretched.unit.device), stretched.finite, stretched.constant)


def draw_maximum(ties: Tensor, pixels: int, protocol: str, seed: int, image_id: int) -> int:
    """One of the pixels that share the maximum; of a constant map, which is one tie over all pixels, any.

    Args:
        ties: int64 ``(N,)``, numbers of the N pixels that share it; none of a constant map.
        pixels: how many there are in all.
        protocol: ``"fair"`` draws by lot, ``"paper"`` takes the first.
        seed: of the lots.
        image_id: of the lots too.

    Returns:
        The number of a pixel.
    """
    count = len(ties) or pixels
    chosen = int(np.random.default_rng((seed, image_id)).integers(count)) if protocol == "fair" and count > 1 else 0
    return int(ties[chosen]) if len(ties) else chosen


def find_maxima(
    maps: Tensor,
    *,
    frame: int = FRAME,
    protocol: str = "fair",
    seed: int = 0,
    image_ids: Sequence[int] | None = None,
    smooth: bool = False,
) -> Maxima:
    """Stretch maps onto the frame and choose one maximum of each: :func:`stretch`, then :func:`choose_maxima`.

    Args:
        maps: ``(N, 1, h, w)``, any float dtype and size.
        frame: side of the frame in pixels.
        protocol: as in :func:`choose_maxima`.
        seed: as in :func:`choose_maxima`.
        image_ids: as in :func:`choose_maxima`.
        smooth: smooth each map in the frame first.

    Returns:
        The points in pixels of the frame, and which maps were finite and constant.

    Raises:
        ValueError: Unknown protocol, or maps of another shape.

    Example:
        >>> saliency = torch.zeros(1, 1, 3, 3)
        >>> saliency[0, 0, 1, 1] = 1.0
        >>> find_maxima(saliency, frame=9).points
        tensor([[4, 4]])
    """
    return choose_maxima(stretch(maps, frame, smooth=smooth), protocol=protocol, seed=seed, image_ids=image_ids)


def is_hit(distance: np.ndarray | float, tolerance: float) -> np.ndarray:
    """Say which distances are hits: strictly closer than the tolerance, or inside at tolerance 0.

    Args:
        distance: to the annotation in pixels of the frame, any shape; NaN (there was no point) is a miss.
        tolerance: in pixels of the frame.

    Returns:
        bool, of the shape of ``distance``.

    Example:
        >>> is_hit(np.array([0.0, 14.9, 15.0, np.nan]), 15)
        array([ True,  True, False, False])
    """
    distance = np.asarray(distance)
    return distance == 0 if tolerance == 0 else distance < tolerance


def chance_level(mask: np.ndarray, tolerances: Sequence[float] = TOLERANCES) -> list[float]:
    """Share of the frame that is a hit, which is what a uniformly random point scores.

    Args:
        mask: bool ``(height, width)``.
        tolerances: in pixels of the frame.

    Returns:
        One share in [0, 1] for each tolerance.

    Example:
        >>> mask = np.zeros((10, 10), dtype=bool)
        >>> mask[0, :5] = True
        >>> chance_level(mask, (0, 2))  # five pixels; and the row below, and one at the side of each
        [0.05, 0.12]
    """
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return [0.0] * len(tolerances)
    # Nothing beyond the largest tolerance can be a hit, so a margin of that width is enough.
    margin = int(np.ceil(max(tolerances))) + 1
    top, left = max(rows.min() - margin, 0), max(columns.min() - margin, 0)
    crop = mask[top : rows.max() + margin + 1, left : columns.max() + margin + 1]
    distance = distance_transform_edt(~crop)
    return [float(is_hit(distance, tolerance).sum()) / mask.size for tolerance in tolerances]


def check_protocol(protocol: str) -> None:
    """Refuse a protocol that there is not.

    Args:
        protocol: Its name.

    Raises:
        ValueError: It is none of ``PROTOCOLS``.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
