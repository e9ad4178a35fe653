"""Films with what measures on one film look at besides its maps, and the row that a measure becomes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.metrics.explained_film import ExplainedFilm
from benchmarks.metrics.faithfulness import blur
from benchmarks.scoring.batch import FilmBatch, class_probabilities
from benchmarks.scoring.job import Job
from benchmarks.scoring.unit_store import Row


class ExplainedBatch(FilmBatch):
    """The films of one batch, and the same without their detail."""

    def __init__(self, job: Job, batch: int) -> None:
        super().__init__(job, batch)
        self.blurred = blur(self.images)
        self.gone = class_probabilities(job, self.blurred)
        self._answers: list[dict[Any, Any]] = [{} for _ in self.records]

    def explained(self, i: int, maps: Mapping[int, Tensor], asked: int | None = None) -> ExplainedFilm:
        """What a method says of a film; arguments as of :class:`ExplainedFilm`."""
        return ExplainedFilm(
            maps=maps,
            image=self.images[i],
            blurred=self.blurred[i],
            probabilities=self.probabilities[i],
            gone=self.gone[i],
            classify=partial(class_probabilities, self.job),
            seed=(self.job.seed, self.image_ids[i]),
            asked=asked,
            answers=self._answers[i],
        )


def measure_row(image: str, method: str, measure: str, value: float | None) -> Row:
    """A row of the table ``measures``, without a value where there is none or it is not finite."""
    defined = value is not None and np.isfinite(value)
    return {"image": image, "method": method, "measure": measure, "value": value if defined else None}
