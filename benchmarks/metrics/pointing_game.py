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

Pure functions first, a thin :class:`PointingGame` metric over them last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torchmetrics import Metric

from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import FRAME, Pieces, Stretched, clip_at_percentile, stretch

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
    _check_protocol(protocol)
    maps, frame = len(stretched.unit), stretched.frame
    ids = range(maps) if image_ids is None else image_ids
    pieces = stretched.highest([1] * maps) if highest is None else highest
    points = []
    for image_id, ties, finite in zip(ids, pieces.ties, stretched.finite.tolist(), strict=True):
        # A constant map is one tie over the frame.
        count = len(ties) or frame**2
        chosen = int(np.random.default_rng((seed, image_id)).integers(count)) if protocol == "fair" and count > 1 else 0
        index = int(ties[chosen]) if len(ties) else chosen
        points.append((index % frame, index // frame) if finite else (-1, -1))
    return Maxima(torch.tensor(points, device=stretched.unit.device), stretched.finite, stretched.constant)


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


class PointingGame(Metric):
    """Pointing Game accuracy at several tolerances, as a metric that may run under DDP.

    An image without annotation is excluded and counted; a constant map plays (its point is a
    tie over the whole frame) and is counted; a map that is not finite is a miss and is counted.

    Args:
        tolerances: in pixels of the frame; 0 means inside the annotation.
        frame: side of the frame in pixels.
        protocol: ``"paper"`` or ``"fair"``.
        seed: of the choice between ties in ``"fair"``.
        clip: clip each map at its 99th percentile first, as ``"paper"`` does to the maps of
            gradient methods.
        smooth: smooth each map in the frame first.
        **kwargs: for :class:`torchmetrics.Metric`.

    Example:
        >>> metric = PointingGame(tolerances=(0, 15), frame=100)
        >>> saliency = torch.zeros(1, 1, 100, 100)
        >>> saliency[0, 0, 20, 30] = 1.0
        >>> mask = torch.zeros(1, 100, 100, dtype=torch.bool)
        >>> mask[0, 15:25, 35:45] = True
        >>> metric.update(saliency, mask)
        >>> result = metric.compute()
        >>> float(result["accuracy_0"]), float(result["accuracy_15"]), int(result["images"])
        (0.0, 1.0, 1)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    hits: Tensor
    chance: Tensor
    images: Tensor
    constant: Tensor
    non_finite: Tensor
    unannotated: Tensor

    def __init__(
        self,
        tolerances: Sequence[int] = TOLERANCES,
        frame: int = FRAME,
        protocol: str = "fair",
        seed: int = 0,
        *,
        clip: bool = False,
        smooth: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_protocol(protocol)
        self.tolerances = tuple(tolerances)
        self.frame, self.protocol, self.seed = frame, protocol, seed
        self.clip, self.smooth = clip, smooth
        count = torch.zeros(len(self.tolerances), dtype=torch.long)
        self.add_state("hits", count, dist_reduce_fx="sum")
        self.add_state("chance", count.double(), dist_reduce_fx="sum")
        for name in ("images", "constant", "non_finite", "unannotated"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, maps: Tensor, masks: Tensor, image_ids: Sequence[int] | None = None) -> None:
        """Play a batch.

        Args:
            maps: ``(N, 1, h, w)``, any float dtype and size.
            masks: bool ``(N, frame, frame)``, the annotation stretched onto the frame.
            image_ids: see :func:`find_maxima`; give them, and ties do not depend on batching.

        Raises:
            ValueError: the masks do not fit the frame or the maps.
        """
        if tuple(masks.shape) != (len(maps), self.frame, self.frame):
            raise ValueError(
                f"masks must have the shape {(len(maps), self.frame, self.frame)}, not {tuple(masks.shape)}"
            )
        if self.clip:
            maps = clip_at_percentile(maps)
        maxima = find_maxima(
            maps,
            frame=self.frame,
            protocol=self.protocol,
            seed=self.seed,
            image_ids=image_ids,
            smooth=self.smooth,
        )
        annotations = Annotations(masks.bool())
        distances = maxima.distances(annotations).cpu().numpy()
        for i, mask in enumerate(masks.cpu().numpy().astype(bool)):
            if not mask.any():
                self.unannotated += 1
                continue
            self.hits += torch.tensor([bool(is_hit(distances[i], t)) for t in self.tolerances]).to(self.hits)
            self.chance += torch.tensor(chance_level(mask, self.tolerances)).to(self.chance)
            self.images += 1
            self.constant += int(maxima.constant[i])
            self.non_finite += int(not maxima.finite[i])

    def compute(self) -> dict[str, Tensor]:
        """Compute the results so far.

        Returns:
            ``accuracy_T`` and ``chance_T`` for each tolerance T, in [0, 1] and NaN when no image with an annotation
            was seen; and the counts ``images``, ``constant``, ``non_finite`` and ``unannotated``. Scalars.
        """
        result = {}
        for i, tolerance in enumerate(self.tolerances):
            result[f"accuracy_{tolerance}"] = self.hits[i] / self.images
            result[f"chance_{tolerance}"] = self.chance[i] / self.images
        for name in ("images", "constant", "non_finite", "unannotated"):
            result[name] = getattr(self, name)
        return result


def _check_protocol(protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
