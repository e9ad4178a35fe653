"""The Grid Pointing Game, which needs labels only, and DiFull, a check that a method does not invent.

Images of different classes lie side by side in one input, and the score of one of those classes is explained: how
much of the map is in the cell of that class? Chance is one cell's share. This tells methods that know the class from
others, since every cell shows something that the network reacts to.

Definitions are those of the benchmark's other games: a map is stretched onto a frame, its energy is that of
``benchmarks.metrics.overlap.energy_share``, and of pixels that share the maximum one is drawn by lot.

References:
    Boehle, Fritz, Schiele: Convolutional Dynamic Alignment Networks for Interpretable Classifications. CVPR 2021,
    arXiv:2104.00032, section 4.2. DiFull: Rao, Boehle, Schiele: Towards Better Understanding Attribution Methods. CVPR
    2022, arXiv:2205.10435, section 3.1.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import FRAME, stretch
from benchmarks.metrics.overlap import energy_share
from benchmarks.metrics.pointing_game import choose_maxima
from benchmarks.run.choices import Outputs
from benchmarks.run.errors import UserError

CONFIDENT = 0.9
"""Least confidence of an image in a grid. The sources want .99, which few networks with sigmoid outputs give; the most
confident images are taken first, so that where there are enough of those no others are."""

Explain = Callable[[Tensor, Tensor], Tensor]
"""Images ``(N, C, H, W)`` and classes ``(N,)`` to maps ``(N, 1, h, w)``."""


@dataclass(frozen=True)
class Grid:
    """One grid, its cells in raster order.

    Attributes:
        images: Number of the image in each cell.
        classes: Its class; no class is there twice.
    """

    images: tuple[int, ...]
    classes: tuple[int, ...]


@dataclass(frozen=True)
class GridScore:
    """What a map is worth; one for each cell of each grid.

    Attributes:
        grid: Number of the grid.
        cell: Number of the cell whose class was explained.
        energy: Share of the map's positive values in that cell; NaN for a map that is not finite.
        hit: Whether the map's maximum lies in it.
    """

    grid: int
    cell: int
    energy: float
    hit: bool


def confidence(logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
    """How sure a network is of an image's one class, and of no other.

    Args:
        logits: ``(N, K)``.
        labels: Classes that the images have, bool ``(N, K)``.
        outputs: ``"softmax"``: the probability of the class. ``"sigmoid"``: the smaller of the probability of the class
            and that of the absence of the most likely other one.

    Returns:
        float ``(N,)``; 0 for an image that has not exactly one class, or is classified wrongly.

    Raises:
        ValueError: There is no such kind of output.

    Example:
        >>> logits = torch.tensor([[9.0, -9.0], [9.0, 2.0], [-9.0, 9.0]])
        >>> labels = torch.tensor([[True, False]] * 3)
        >>> [round(value, 3) for value in confidence(logits, labels, "sigmoid").tolist()]
        [1.0, 0.0, 0.0]
    """
    if outputs not in get_args(Outputs):
        raise ValueError(f'outputs must be "softmax" or "sigmoid", not {outputs!r}')
    probability = logits.softmax(1) if outputs == "softmax" else logits.sigmoid()
    labels = labels.bool()
    own, other = probability.where(labels, 0).amax(1), probability.where(~labels, 0).amax(1)
    if outputs == "sigmoid":
        right = (own > 0.5) & (other <= 0.5)
        own = torch.minimum(own, 1 - other)
    else:
        right = own > other
    return own.where(right & (labels.sum(1) == 1), 0)


def draw_grids(
    confidences: Tensor,
    classes: Sequence[int],
    side: int,
    count: int,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Grid]:
    """Draw which images are put together.

    Classes are drawn by chance for each grid; of a class the most confident images come first, and again from the first
    one when all were used.

    Args:
        confidences: Of the images, ``(N,)``, by :func:`confidence`.
        classes: Class of each.
        side: Cells in a row and in a column.
        count: Number of grids.
        names: Of the classes, for the sentence.
        seed: Of the draw.

    Returns:
        The grids.

    Raises:
        UserError: Fewer classes than cells have a confident image.

    Example:
        >>> draw_grids(torch.tensor([1.0, 0.95, 0.8, 1.0, 1.0, 1.0]), [0, 1, 2, 2, 3, 3], side=2, count=1)[0].classes
        (3, 2, 0, 1)
    """
    queues: dict[int, list[int]] = {}
    for image in torch.argsort(confidences, descending=True, stable=True).tolist():
        if confidences[image] >= CONFIDENT:
            queues.setdefault(classes[image], []).append(image)
    if len(queues) < side**2:
        found = ", ".join(str(names[number] if names else number) for number in sorted(queues)) or "none"
        raise UserError(
            f"--grid {side} needs images of {side**2} classes that are classified right with a confidence of "
            f"{CONFIDENT:g}, and there are such images of {len(queues)} (classes: {found}): take a smaller grid, or "
            "more images."
        )
    lots, used, grids = np.random.default_rng(seed), dict.fromkeys(queues, 0), []
    for _ in range(count):
        chosen = [int(number) for number in lots.choice(sorted(queues), side**2, replace=False)]
        grids.append(Grid(tuple(queues[k][used[k] % len(queues[k])] for k in chosen), tuple(chosen)))
        for number in chosen:
            used[number] += 1
    return grids


def lay_out(cells: Tensor, side: int) -> Tensor:
    """Lay the cells of grids side by side.

    Args:
        cells: ``(N * side * side, C, H, W)``, grid by grid and in raster order.
        side: Cells in a row and in a column.

    Returns:
        ``(N, C, side * H, side * W)``.

    Example:
        >>> lay_out(torch.arange(4.0).view(4, 1, 1, 1), side=2)
        tensor([[[[0., 1.],
                  [2., 3.]]]])
    """
    number, (channels, height, width) = len(cells) // side**2, cells.shape[1:]
    laid = cells.view(number, side, side, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return laid.reshape(number, channels, side * height, side * width)


def play(explain: Explain, cells: Tensor, classes: Sequence[int], side: int, grid: int = 0) -> list[GridScore]:
    """Play the Grid Pointing Game on one grid: a map for the class of each cell, of one and the same input.

    Args:
        explain: The method, for the network and inputs as large as a grid.
        cells: Images of the grid's cells in raster order, ``(side * side, C, H, W)``.
        classes: Their classes.
        side: Cells in a row and in a column.
        grid: Number of the grid: for the scores and the lots.

    Returns:
        A score for each cell.
    """
    images = lay_out(cells, side).expand(len(cells), -1, -1, -1)
    return _score(explain(images, torch.tensor(classes, device=cells.device)), side, grid)


def play_difull(
    explain: Explain, cells: Tensor, classes: Sequence[int], side: int, nothing: int, grid: int = 0
) -> list[GridScore]:
    """Play DiFull on one grid: each cell has a network of its own, so that nothing outside of the cell can matter.

    Such a network sees each cell by itself. So the method is asked for the maps of the cells, all but one of which
    explain an output that is always zero, and these are laid side by side. Whatever a method shows in the others is
    invented.

    Args:
        explain: The method, for :func:`with_nothing` of the network and inputs as large as a cell.
        cells: As in :func:`play`, like the next two.
        classes: See there.
        side: See there.
        nothing: Number of the output that is always zero.
        grid: Number of the grid: for the scores and the lots.

    Returns:
        A score for each cell.
    """
    maps = []
    for own, number in enumerate(classes):
        targets = [nothing] * len(cells)
        targets[own] = number
        maps.append(lay_out(explain(cells, torch.tensor(targets, device=cells.device)), side))
    return _score(torch.cat(maps), side, grid)


def with_nothing(network: nn.Module) -> nn.Module:
    """The same network, with one more output behind the others that is always zero: the score of what is not there.

    Args:
        network: Gives logits ``(N, K)``. It is left as it is; layers and weights are shared.

    Returns:
        A network of the same type, whose layers have the same names.

    Example:
        >>> with_nothing(nn.Linear(4, 2))(torch.ones(1, 4)).shape
        torch.Size([1, 3])
    """
    twin = copy.copy(network)
    twin._forward_hooks = OrderedDict(network._forward_hooks)
    twin.register_forward_hook(lambda _, inputs, logits: torch.cat([logits, logits.new_zeros(len(logits), 1)], dim=1))
    return twin


def chance(side: int) -> float:
    """Energy and hits of a map that says nothing."""
    return 1 / side**2


def _score(maps: Tensor, side: int, grid: int) -> list[GridScore]:
    """Scores of the maps of all cells of a grid, the first for the first cell."""
    frame = FRAME // side * side
    own = torch.eye(side**2, dtype=torch.bool, device=maps.device).view(-1, side, side)
    masks = own.repeat_interleave(frame // side, 1).repeat_interleave(frame // side, 2)
    annotations, stretched = Annotations(masks), stretch(maps, frame)
    energy = energy_share(stretched, annotations)
    maxima = choose_maxima(stretched, image_ids=range(grid * side**2, (grid + 1) * side**2))
    hits = (maxima.distances(annotations) == 0).tolist()
    return [GridScore(grid, cell, *of) for cell, of in enumerate(zip(energy.tolist(), hits, strict=True))]
