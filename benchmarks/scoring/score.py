"""Play the Pointing Game: every method on every annotated test film, resumable and on any number of processes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.classifier.training_films import training_films
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import read_split
from benchmarks.methods import Method
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_parquet
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.job import Job
from benchmarks.scoring.store import ScoreStore
from benchmarks.scoring.units import Step, compute_units, run_step


def score(config: Config) -> None:
    """Score the methods of a configuration, going on where an earlier start stopped.

    Writes ``scores.sqlite`` while it works and ``scores.parquet`` at the end, both in the run
    directory.

    Args:
        config: of the run; the classifier must be trained.

    Raises:
        UserError: no classifier, no annotated films, an unknown method, or a full disk.
    """
    run_step(Step("scores", "scored", open_job, _open_file, _work, _finish), config)


def open_job(config: Config, device: torch.device | str = "cpu") -> Job:
    """Load what scoring needs.

    Raises:
        UserError: no classifier, or no annotated film.
    """
    records = read_split(config.data_root, "test", config.limit)
    positives = [position for position, record in enumerate(records) if record.shapes]
    if not positives:
        raise UserError(f"the test split of {config.data_root} has no annotated film, so there is nothing to point at")
    network = load_classifier(config.classifier_dir).to(device)
    films = FilmDataset(records, config.image_size, config.cache_dir)
    device = torch.device(device)
    training = partial(training_films, config, device)
    return Job(
        network,
        films,
        positives,
        config.scoring.score_batch_size,
        config.seed,
        config.scoring.truth,
        device,
        config.scoring.budget,
        training,
    )


def open_store(config: Config, job: Job) -> ScoreStore:
    """Open the run's scores under the configuration of a job."""
    return _open_file(config.out / "scores.sqlite", job)


def score_units(job: Job, pending: dict[int, list[Method]], store: ScoreStore, *, show: bool = False) -> None:
    """Compute units of scoring; see :func:`benchmarks.scoring.units.compute_units`."""

    def open_batch(batch: int) -> FilmBatch:
        films = FilmBatch(job, batch)
        store.write_chance(films.chance())
        return films

    def play(films: FilmBatch, *what: Any) -> list[dict[str, object]]:
        return films.play(*what)

    compute_units(job, pending, store, open_batch, play, store.write_unit, doing="Scoring", show=show)


def _open_file(path: Path, job: Job) -> ScoreStore:
    return ScoreStore(path, job.digest())


def _work(job: Job, pending: dict[int, list[Method]], store: ScoreStore, show: bool) -> None:
    score_units(job, pending, store, show=show)


def _finish(config: Config, job: Job, store: ScoreStore) -> None:
    write_parquet(config.out / "scores.parquet", store.scores())
