"""The Pointing Game as a metric of torchmetrics, whose import the suite itself does without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import FRAME, clip_at_percentile
from benchmarks.metrics.pointing_game import TOLERANCES, chance_level, check_protocol, find_maxima, is_hit


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
        check_protocol(protocol)
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
            image_ids: see :func:`benchmarks.metrics.pointing_game.find_maxima`; with them ties depend on no batch.

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
