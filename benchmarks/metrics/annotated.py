"""The annotated pixels of some films, with what is worked out of them once for all methods."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.metrics.frame import Pieces, between_cells


class Annotations:
    """Annotations of N films in the frame.

    Args:
        masks: bool ``(N, frame, frame)``.

    Attributes:
        masks: the same.
        counts: number of annotated pixels of each film.

    Example:
        >>> masks = torch.zeros(1, 9, 9, dtype=torch.bool)
        >>> masks[0, 3:6, 4:7] = True
        >>> Annotations(masks).distances(torch.tensor([[0, 0]]))  # 4 columns and 3 rows away
        tensor([5.], dtype=torch.float64)
    """

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks
        # One by one: a sum over a dimension holds eight bytes a pixel of all masks.
        self.counts = [int(mask.count_nonzero()) for mask in masks]
        self._cells: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    @property
    def at_least_one(self) -> list[int]:
        """The counts, and 1 where there is no annotation: how many pixels of a map decide."""
        return [max(count, 1) for count in self.counts]

    def pieces(self, pieces: Pieces) -> Tensor:
        """The masks in pieces of rows, bool ``(P, length)``."""
        length, size = pieces.values.shape[1], self.masks.shape[1] * self.masks.shape[2]
        return self.masks.view(-1, length).index_select(0, (pieces.of * size + pieces.first) // length)

    def distances(self, points: Tensor) -> Tensor:
        """Euclidean distance from a pixel of each film to its nearest annotated pixel, both on the integer grid.

        Args:
            points: int64 ``(N, 2)``, column and row.

        Returns:
            float64 ``(N,)``, in pixels; 0 inside of the annotation, infinity where there is none.
        """
        column, row = points.T
        of, rim_row, rim_column = self._rim
        squared = (rim_row - row[of]) ** 2 + (rim_column - column[of]) ** 2
        nearest = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)
        nearest = nearest.scatter_reduce(0, of, squared.double(), "amin").sqrt()
        inside = self.masks[torch.arange(len(points), device=points.device), row, column]
        return nearest.where(~inside, 0.0)

    def in_cells(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """How much of each cell of a map lies in the annotation, once the map is stretched to the frame.

        Stretching is linear, so a sum over annotated pixels of the frame is a sum over the cells of the map with
        these weights: the adjoint of the stretching, applied to the mask.

        Returns:
            float64 ``(N, height, width)`` for the annotation, and ``(height, width)`` for the whole frame.
        """
        if (height, width) not in self._cells:
            down, across = (_spread(cells, self.masks.shape[1], self.masks.device) for cells in (height, width))
            inside = []
            for mask in self.masks:
                rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
                inside.append(down[:, rows] @ mask[rows][:, columns].double() @ across[:, columns].T)
            self._cells[height, width] = torch.stack(inside), torch.outer(down.sum(dim=1), across.sum(dim=1))
        return self._cells[height, width]

    @cached_property
    def _rim(self) -> tuple[Tensor, Tensor, Tensor]:
        """Film, row and column of the annotated pixels that have another neighbour: the nearest one is among them.

        They are a hundredth of what a distance transform would have to go through, and as exact.
        """
        padded = F.pad(self.masks, (1, 1, 1, 1))
        middle = padded[:, 1:-1, 1:-1]
        rim = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1]
        # In place: nothing else that scoring does holds so much at once.
        rim &= padded[:, 1:-1, :-2]
        rim &= padded[:, 1:-1, 2:]
        of, row, column = rim.logical_not_().logical_and_(middle).nonzero(as_tuple=True)
        return of, row, column


def _spread(cells: int, frame: int, device: torch.device) -> Tensor:
    """How much of each pixel along a side of the frame comes from each cell of a map, ``(cells, frame)``."""
    low, high, weight = between_cells(cells, frame, device)
    pixel = torch.arange(frame, device=device)
    spread = torch.zeros(cells, frame, dtype=torch.float64, device=device)
    return spread.index_put_((low, pixel), 1 - weight).index_put_((high, pixel), weight, accumulate=True)
