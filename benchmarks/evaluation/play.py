"""All steps of an evaluation, each going on where an earlier start stopped."""

from __future__ import annotations

import pandas as pd

from benchmarks.evaluation.grid import GridGame, GridStep
from benchmarks.evaluation.measuring import EvaluationMeasureStep, with_classes
from benchmarks.evaluation.result import Further
from benchmarks.evaluation.step import Asked, EvaluationStep
from benchmarks.methods import METHODS
from benchmarks.run.config import Config

DEV = "dev"
"""Folder in that of the results, for what is measured on other images."""


def play_questions(config: Config, asked: Asked, tuning: Asked | None, *, keep_maps: bool) -> Further:
    """Play the game and take the further measures.

    Args:
        config: Where to, and the settings of scoring.
        asked: The questions.
        tuning: Questions about other images, on which thresholds are tuned.
        keep_maps: Keep the maps.
    """
    EvaluationStep(asked, keep_maps).run(config)
    measuring = EvaluationMeasureStep(asked)
    measuring.run(config)
    dev = None
    if tuning is not None:
        other = config.replace(out=config.out / DEV, measure_films=max(2, len(tuning.questions)))
        step = EvaluationMeasureStep(tuning)
        step.run(other)
        dev = with_classes(step.read(other)[1], tuning)
    return Further(*measuring.read(config), dev)


def play_grids(config: Config, game: GridGame) -> pd.DataFrame:
    """Play the Grid Pointing Game, one row a method."""
    step = GridStep(game)
    step.run(config)
    return step.read(config, list(METHODS))
