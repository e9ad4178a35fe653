"""The Grid Pointing Game on labelled images: which are put together, and what the maps are worth on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.analysis.hierarchical import mean_interval
from benchmarks.analysis.share_interval import share_interval
from benchmarks.analysis.weighing import Weighing
from benchmarks.classifier.network import weights_digest
from benchmarks.evaluation.network_verdicts import check_finite
from benchmarks.evaluation.questions import Question, Questions, channels_last
from benchmarks.formats.labelled import LabelledImage
from benchmarks.methods import Explain, Layers, Method
from benchmarks.metrics.grid_game import Grid, chance, confidence, draw_grids, play, play_difull, with_nothing
from benchmarks.models import OpenModel
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.scoring.batch import explain_within_memory, seeded
from benchmarks.scoring.job import Job
from benchmarks.scoring.unit_store import Row, UnitStore
from benchmarks.scoring.units import Step

GRIDS = 32
"""Grids that are played."""
COLUMNS = (
    "method", "energy", "energy_low", "energy_high", "maximum", "maximum_low", "maximum_high", "difull", "chance",
    "grids",
)  # fmt: skip


@dataclass(frozen=True)
class _Record:
    """A grid in the place of a film."""

    name: str
    lot: str
    path: Path
    label: int = 0
    shapes: tuple[Any, ...] = ()


class Grids:
    """Grids as a job takes films: their images, and what is drawn of them.

    Args:
        images: Those that have one label.
        outputs: Number of the network's output by category.
        model: The network.
        side: Cells in a row and in a column.
        cache_dir: As of :class:`benchmarks.evaluation.questions.Questions`.
        seed: Of the draw.
        device: Where confidences are computed.

    Raises:
        UserError: Too few classes have an image that the network is sure of.
    """

    def __init__(
        self, images: Sequence[LabelledImage], outputs: Mapping[str, int], model: OpenModel, side: int, cache_dir: Path,
        seed: int, device: torch.device,
    ) -> None:  # fmt: skip
        single = [Question(image, image.labels[0], outputs[image.labels[0]], image.name) for image in images]
        if not single:
            raise UserError("--grid needs images of one class each that the model knows, and there are none.")
        self.side = side
        self._films = Questions(single, model, cache_dir)
        names = {question.label: question.category for question in single}
        self.classes = [question.label for question in single]
        confidences = self._confidences(model, device)
        told_by = [names.get(i, str(i)) for i in range(max(names) + 1)]
        self.grids: list[Grid] = draw_grids(confidences, self.classes, side, GRIDS, names=told_by, seed=seed)
        told = [" ".join(single[i].image.name for i in grid.images) for grid in self.grids]
        self.records = [_Record(f"{i}: {text}", str(i), single[0].path) for i, text in enumerate(told)]
        self.original_sizes = [(1, 1)] * len(self.grids)
        self.size = side * self._films.size
        self.pixels = hashlib.sha256(f"{side} {self._films.pixels}".encode()).hexdigest()

    def _confidences(self, model: OpenModel, device: torch.device) -> Tensor:
        logits = []
        with torch.no_grad():
            for first in range(0, len(self.classes), 16):
                some = range(first, min(first + 16, len(self.classes)))
                logits.append(model.network(self.cells(some).to(device)).cpu())
                check_finite(logits[-1], [self._films.records[i].path for i in some], model.name)
        scores = torch.cat(logits)
        labels = torch.zeros_like(scores, dtype=torch.bool)
        labels[torch.arange(len(labels), device="cpu"), self.classes] = True
        return confidence(scores, labels, model.outputs)

    def cells(self, images: Sequence[int]) -> Tensor:
        """Inputs of some images, float ``(N, C, H, W)``."""
        return channels_last(torch.stack([self._films[i][0] for i in images]))

    def __getitem__(self, position: int) -> tuple[Tensor, int, int]:
        """The cells of a grid."""
        return self.cells(self.grids[position].images), 0, position

    def picture(self, position: int, at_least: int | None = None) -> np.ndarray:
        """The image in a grid's first cell."""
        return self._films.picture(self.grids[position].images[0], at_least)

    def mask(self, position: int, frame: tuple[int, int], truth: str) -> np.ndarray:
        """Nothing is annotated."""
        return np.zeros(frame, dtype=bool)


@dataclass
class GridJob(Job):
    """What one process needs to play grids.

    Attributes:
        cell: Shape of a cell, (C, H, W).
    """

    cell: tuple[int, int, int] = (3, 1, 1)
    _difull: dict[str, Explain | None] = field(default_factory=dict)

    def difull(self, method: Method) -> Explain | None:
        """A method for cells and the network with an output that is always zero; None where it cannot be had."""
        if method.name not in self._difull:
            network = with_nothing(self.network)
            context = replace(self, network=network, shape=self.cell, training=None).context()
            try:
                self._difull[method.name] = method.prepare(context) if method.family != "own" else None
            except Exception:  # as of the method itself; what is missing stays empty in the table
                self._difull[method.name] = None
        return self._difull[method.name]


class GridStore(UnitStore):
    """One SQLite file of grids that were played."""

    tables: ClassVar[Mapping[str, str]] = {
        "grids": (
            "image TEXT, method TEXT, cell INTEGER, energy REAL, hit INTEGER, difull REAL, "
            "PRIMARY KEY (key, image, cell)"
        ),
    }

    def grids(self) -> pd.DataFrame:
        """One row for each grid, cell and method."""
        columns = ("image", "method", "cell", "energy", "hit", "difull")
        return self.frame("grids", columns, "image, method, cell").astype({"energy": float, "difull": float})


class GridBatch:
    """The grids of one batch."""

    def __init__(self, job: Job, batch: int) -> None:
        assert isinstance(job, GridJob)
        self.job, self.batch, self.positions = job, batch, job.batch(batch)
        self._given: dict[int, tuple[Tensor, Tensor]] = {}

    def play(self, method: Method, explain: Explain) -> dict[str, list[Row]]:
        """Rows of the table ``grids``."""
        job, films = self.job, self.job.films
        assert isinstance(films, Grids)
        rows: list[Row] = []
        for position in self.positions:
            grid, cells = films.grids[position], films[position][0].to(job.device)
            with seeded(job.seed, method, position, job.device):
                scores = play(self._of_grid(position, explain), cells, grid.classes, films.side, position)
            alone = job.difull(method)
            shares: list[float | None] = [None] * len(scores)
            if alone is not None:
                try:
                    with seeded(job.seed, method, position, job.device):
                        nothing = self._outputs(cells)
                        found = play_difull(_within_memory(alone), cells, grid.classes, films.side, nothing, position)
                    shares = [_number(score.energy) for score in found]
                except Exception:  # a method that cannot do without the class's gradient has no value
                    pass
            for score, share in zip(scores, shares, strict=True):
                rows.append(
                    {
                        "image": films.records[position].name, "method": method.name, "cell": score.cell,
                        "energy": _number(score.energy), "hit": int(score.hit), "difull": share,
                    }
                )  # fmt: skip
        return {"grids": rows}

    def _of_grid(self, position: int, explain: Explain) -> Explain:
        """A method that is given the very tensors that others were given for a grid, so that they can share a pass."""
        within = _within_memory(explain)
        return lambda *given: within(*self._given.setdefault(position, given))

    def _outputs(self, cells: Tensor) -> int:
        with torch.no_grad():
            return int(self.job.network(cells[:1]).shape[1])


def _within_memory(explain: Explain) -> Explain:
    return lambda images, targets: explain_within_memory(explain, images, targets)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class GridGame:
    """What is played on which network; arguments as of :class:`Grids`."""

    model: OpenModel
    images: list[LabelledImage]
    outputs: dict[str, int]
    side: int
    layers: Layers | None

    def job(self, config: Config, device: torch.device | str = "cpu") -> GridJob:
        """What playing needs.

        Raises:
            UserError: As of :class:`Grids`, or the network does not take inputs as large as a grid.
        """
        device, network = torch.device(device), self.model.network.to(device)
        channels, height, width = self.model.shape
        shape = (channels, self.side * height, self.side * width)
        _check_takes(network, shape, self.side)
        films = Grids(self.images, self.outputs, self.model, self.side, config.cache_dir, config.seed, device)
        weights = weights_digest(network.state_dict())
        return GridJob(
            network, weights, films, list(range(len(films.grids))), config.replace(score_batch_size=4).scoring,
            config.seed, device, to_input=channels_last, outputs=self.model.outputs, explain="labelled", shape=shape,
            layers=self.layers, contrast=self.model.contrast, cell=self.model.shape,
        )  # fmt: skip


def _check_takes(network: nn.Module, shape: tuple[int, int, int], side: int) -> None:
    parameter = next(network.parameters(), torch.zeros((), device="cpu"))
    try:
        with torch.no_grad():
            network(parameter.new_zeros(1, *shape))
    except Exception as error:  # what a network raises is its own business
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"--grid {side} makes inputs of {shape[1]} x {shape[2]} pixels, which the network does not take "
            f"({reason}): leave it out, or give the network a smaller --image-size."
        ) from None


class GridStep(Step[GridStore, Any]):
    """The Grid Pointing Game."""

    name, doing, done, unit = "grid", "Playing grids with", "played", "grid"
    store = GridStore

    def __init__(self, game: GridGame) -> None:
        self.game = game

    def open_job(self, config: Config, device: torch.device | str = "cpu") -> GridJob:
        """As :meth:`GridGame.job`."""
        return self.game.job(config, device)

    def open_batch(self, job: Job, batch: int, store: GridStore) -> GridBatch:
        """Load a batch of grids."""
        return GridBatch(job, batch)

    def compute(self, films: GridBatch, method: Method, explain: Explain) -> Mapping[str, Sequence[Row]]:
        """Play."""
        return films.play(method, explain)

    def finish(self, config: Config, job: Job, store: GridStore) -> None:
        """Nothing: :func:`read_grids` makes the table."""


def read_grids(config: Config, job: Job, side: int, order: Sequence[str]) -> pd.DataFrame:
    """One row a method: energy and hits in the right cell, with 95 % intervals over grids, and DiFull.

    A map that is not finite hits nothing and has no energy, which is left out of the mean.

    Args:
        config: Where grids were played.
        job: Of them.
        side: Cells in a row.
        order: Of the methods.
    """
    with GridStep.reading(config, job) as store:
        grids = store.grids()
    rows: list[tuple[object, ...]] = []
    for method, own in sorted(grids.groupby("method"), key=lambda group: order.index(str(group[0]))):
        weighing = Weighing(pd.factorize(own["image"])[0].astype(np.int64))
        energy = own[["energy"]].to_numpy(float)
        there = ~np.isnan(energy)
        energies = mean_interval([np.nan_to_num(energy)], config.seed, there=[there], weighing=weighing)
        found = (float(end[0]) for end in (*energies, *share_interval(own[["hit"]], weighing)))
        rows.append((method, *found, own["difull"].mean(), chance(side), own["image"].nunique()))
    return pd.DataFrame(rows, columns=list(COLUMNS))
