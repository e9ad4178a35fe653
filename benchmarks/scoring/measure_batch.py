"""One unit of measuring: a method on a batch of annotated and clean films, from maps to numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.analysis.measure_table import FILM_MEASURES
from benchmarks.data.annotations import rasterize
from benchmarks.methods import Explain, Method
from benchmarks.metrics.frame import FRAME, stretch
from benchmarks.scoring.batch import explain_within_memory, seeded
from benchmarks.scoring.explained_batch import ExplainedBatch, measure_row
from benchmarks.scoring.job import Job
from benchmarks.scoring.unit_store import Row
from normgrad_attr.functional import find_points

CLEAN, OBJECT = 0, 1
MOST_PEAKS, LEAST_PEAK = 30, 0.01
"""Most peaks of a map, and the lowest as a share of the highest."""


class MeasureBatch(ExplainedBatch):
    """The films of one batch with what all methods share."""

    def __init__(self, job: Job, batch: int) -> None:
        super().__init__(job, batch)
        self.annotated = [i for i, record in enumerate(self.records) if record.shapes]
        self.towards_object = torch.full((len(self.records),), OBJECT, device=job.device)
        self.towards_clean = torch.full((len(self.annotated),), CLEAN, device=job.device)
        self.objects = [self._object_masks(i) for i in range(len(self.records))]

    def measure(self, method: Method, explain: Explain) -> dict[str, list[Row]]:
        """Compute a method's maps for both classes and everything that is measured on them.

        Returns:
            Rows of the tables ``measures`` and ``peaks``.
        """
        with seeded(self.job.seed, method, self.batch, self.job.device):
            objects = explain_within_memory(explain, self.images, self.towards_object).cpu()
            if self.annotated:
                clean = explain_within_memory(explain, self.choose(self.annotated), self.towards_clean).cpu()
        values: list[Row] = []
        for row, i in enumerate(self.annotated):
            film = self.explained(i, {OBJECT: objects[i], CLEAN: clean[row]})
            values += [
                measure_row(self.records[i].name, method.name, measure, of_film(film))
                for measure, of_film in FILM_MEASURES.items()
            ]
        return {"measures": values, "peaks": self._peaks(method, objects)}

    def _peaks(self, method: Method, maps: Tensor) -> list[Row]:
        rows: list[Row] = []
        points = find_points(stretch(maps).planes[:, None], most=MOST_PEAKS, least=LEAST_PEAK)
        for i, (places, record) in enumerate(zip(points, self.records, strict=True)):
            probability = float(self.probabilities[i, OBJECT])
            for number, (x, y, height) in enumerate(places):
                found = [index for index, mask in enumerate(self.objects[i]) if mask[y, x]]
                peak = {"image": record.name, "method": method.name, "peak": number, "x": x, "y": y}
                rows += [{**peak, "score": probability * height, "object": index} for index in found or [-1]]
        return rows

    def _object_masks(self, i: int) -> Sequence[np.ndarray]:
        width, height = self.job.films.original_sizes[self.positions[i]]
        shapes = self.records[i].shapes
        return [rasterize([shape], width, height, frame=FRAME, truth=self.job.scoring.truth) for shape in shapes]
