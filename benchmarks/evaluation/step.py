"""Scoring of questions: the step of a run, for a network and images from anywhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from benchmarks.evaluation.kept_maps import FOLDER, KeptMaps
from benchmarks.evaluation.questions import Asked, AskedImages, Question
from benchmarks.run.config import Config
from benchmarks.run.files import write_parquet
from benchmarks.scoring.job import Job
from benchmarks.scoring.score import ScoreStep
from benchmarks.scoring.store import ScoreStore


class EvaluationStep(ScoreStep):
    """The game for questions."""

    unit = "question"

    def __init__(self, asked: Asked, keep_maps: bool = False) -> None:
        self.asked = asked
        self.keep_maps = keep_maps

    def open_job(self, config: Config, device: torch.device | str = "cpu") -> Job:
        """As :meth:`benchmarks.evaluation.questions.Asked.job`."""
        job = self.asked.job(config, device)
        if self.keep_maps:
            maps = kept_maps(config, job)
            maps.write_index()
            job.keep = partial(maps.keep, job)
        return job

    def finish(self, config: Config, job: Job, store: ScoreStore) -> None:
        """Write ``scores.parquet`` and ``scores_true.parquet``, with a column for the class."""
        scores = store.scores()
        write_scores(config.out, self.asked.questions, scores, store.true_scores())
        if self.keep_maps:
            kept_maps(config, job).complete(job, list(scores["method"].unique()), store.verdicts())


def kept_maps(config: Config, job: Job) -> KeptMaps:
    """The maps that a run keeps."""
    assert isinstance(job.films, AskedImages)
    return KeptMaps(config.out / FOLDER, job.films)


def write_scores(out: Path, questions: list[Question], scores: pd.DataFrame, true_scores: pd.DataFrame) -> None:
    """Write rows with the image's own name and the class instead of the question's name."""
    names = pd.DataFrame(
        [(question.name, question.image.name, question.category) for question in questions],
        columns=["image", "file", "class"],
    )
    for stem, table in (("scores", scores), ("scores_true", true_scores)):
        told = table.merge(names, on="image", how="left").drop(columns="image").rename(columns={"file": "image"})
        write_parquet(out / f"{stem}.parquet", [told[["image", "class", *told.columns.drop(["image", "class"])]]])
