"""Play the Pointing Game: every method on every annotated test film, resumable and on any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch

from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.classifier.network import weights_digest
from benchmarks.classifier.training_films import training_films
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import read_split
from benchmarks.methods import Explain, Method
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_parquet
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.job import Job
from benchmarks.scoring.store import ScoreStore
from benchmarks.scoring.unit_store import EVERY, Row
from benchmarks.scoring.units import Step


def score(config: Config) -> None:
    """Score the methods of a configuration, going on where an earlier start stopped.

    Writes ``scores.sqlite`` while it works and ``scores.parquet`` and ``scores_true.parquet`` at the end, all in the
    run directory.

    Args:
        config: of the run; the classifier must be trained.

    Raises:
        UserError: no classifier, no annotated films, an unknown method, or a full disk.
    """
    ScoreStep().run(config)


def open_job(config: Config, device: torch.device | str = "cpu") -> Job:
    """Load what scoring needs.

    Raises:
        UserError: no classifier, or no annotated film.
    """
    records = read_split(config.data_root, "test", config.limit)
    positives = [position for position, record in enumerate(records) if record.shapes]
    if not positives:
        raise UserError(f"the test split of {config.data_root} has no annotated film, so there is nothing to point at")
    network = load_classifier(config.classifier_dir)
    weights = weights_digest(network.state_dict())
    films = FilmDataset(records, config.image_size, config.cache_dir)
    device = torch.device(device)
    training = partial(training_films, config, device)
    return Job(network.to(device), weights, films, positives, config.scoring, config.seed, device, training)


class ScoreStep(Step[ScoreStore, FilmBatch]):
    """Maps of all methods, and the game on them."""

    name, doing, done = "scores", "Scoring", "scored"
    store = ScoreStore
    knows_films = True

    open_job = staticmethod(open_job)

    def open_batch(self, job: Job, batch: int, store: ScoreStore) -> FilmBatch:
        """Load a batch of annotated films, and keep what is known of them whatever the method."""
        known = store.verdicts(batch)
        films = FilmBatch(job, batch, known)
        if known.empty:
            store.write_unit(batch, EVERY, {"verdicts": films.verdicts, "chance": films.chance()})
        return films

    def compute(self, films: FilmBatch, method: Method, explain: Explain) -> Mapping[str, Sequence[Row]]:
        """Play the game."""
        return films.play(method, explain)

    def finish(self, config: Config, job: Job, store: ScoreStore) -> None:
        """Write ``scores.parquet`` and ``scores_true.parquet``."""
        write_parquet(config.out / "scores.parquet", store.scores())
        write_parquet(config.out / "scores_true.parquet", store.true_scores())
