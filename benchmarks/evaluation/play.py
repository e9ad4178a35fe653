"""All steps of an evaluation, each going on where an earlier start stopped, and what their stores hold in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmarks.evaluation.grid import GridGame, GridStep, read_grids
from benchmarks.evaluation.measuring import EvaluationMeasureStep, masks_of, read_measures
from benchmarks.evaluation.network_verdicts import Verdicts
from benchmarks.evaluation.questions import Asked
from benchmarks.evaluation.result import Evaluation, Further, GridEvaluation, Seen
from benchmarks.evaluation.step import EvaluationStep
from benchmarks.formats.labelled import LabelledSet
from benchmarks.methods import METHODS, select_methods
from benchmarks.report.results import read_results
from benchmarks.run.config import Config
from benchmarks.scoring.job import Job

SCORES, MEASURES, DEV, GRID = "scores", "measures", "dev", "grid"
"""What is played; ``dev`` is the folder in that of the results for what is measured on other images, too."""


@dataclass(frozen=True)
class Played:
    """What was played, as its stores are read.

    Attributes:
        asked: The questions; None where grids alone were played.
        jobs: By :data:`SCORES` and so on, as far as it was played.
        dev: Class of each question about other images, on which thresholds are tuned.
        side: Cells in a row of the grids.
        verdicts: What the network says of the images, and of those of :data:`DEV`.
    """

    asked: Asked | None
    jobs: Mapping[str, Job]
    dev: Mapping[str, str]
    side: int | None
    verdicts: Mapping[str, Verdicts]

    def result(self, config: Config, data: LabelledSet, told: Sequence[str]) -> Evaluation | GridEvaluation:
        """Read what the methods of a configuration came to.

        Args:
            config: Where results are.
            data: What was played on.
            told: What was noticed on the way.

        Raises:
            UserError: No method was played on all questions.
        """
        chosen = [method.name for method in select_methods(config.scoring.methods)]
        grids = None
        if self.side is not None:
            table = read_grids(config, self.jobs[GRID], self.side, list(METHODS))
            grids = table[table["method"].isin(chosen)]
        if self.asked is None:
            assert grids is not None
            assert self.side is not None
            return GridEvaluation(config, grids, self.side)
        job = self.jobs[SCORES]
        further = Further(*read_measures(config, self.jobs[MEASURES]), self._dev_curves(config), grids)
        results = read_results(config, job).of(chosen)
        tuned = self.verdicts[DEV].tuned() if DEV in self.verdicts else {}
        seen = Seen(self.verdicts[SCORES], tuned)
        return Evaluation(config, self.asked, job, data, results, further.of(chosen), seen, list(told))

    def _dev_curves(self, config: Config) -> pd.DataFrame | None:
        """Curves of masks on other images, with the class of each question."""
        if DEV not in self.jobs:
            return None
        _, curves = read_measures(config.replace(out=config.out / DEV), self.jobs[DEV])
        return masks_of(curves, self.dev)


def play(
    config: Config,
    asked: Asked | None,
    tuning: Asked | None,
    game: GridGame | None,
    verdicts: Mapping[str, Verdicts],
    *,
    keep_maps: bool,
) -> Played:
    """Play the game, take the further measures, and play grids.

    Args:
        config: Where to, and the settings of scoring.
        asked: The questions, if there are some.
        tuning: Questions about other images, on which thresholds are tuned.
        game: Grids, if they are asked for.
        verdicts: As of :class:`Played`.
        keep_maps: Keep the maps.
    """
    jobs: dict[str, Job] = {}
    if asked is not None:
        EvaluationStep(asked, keep_maps).run(config)
        jobs[SCORES] = asked.job(config)
        measuring = EvaluationMeasureStep(asked)
        measuring.run(config)
        jobs[MEASURES] = measuring.open_job(config)
    if tuning is not None:
        other = config.replace(out=config.out / DEV, measure_films=max(2, len(tuning.questions)))
        measuring = EvaluationMeasureStep(tuning)
        measuring.run(other)
        jobs[DEV] = measuring.open_job(other)
    if game is not None:
        GridStep(game).run(config)
        jobs[GRID] = game.job(config)
    dev = {question.name: question.category for question in tuning.questions} if tuning else {}
    return Played(asked, jobs, dev, game.side if game else None, verdicts)
