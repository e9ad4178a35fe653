"""Play the Pointing Game: every method on every annotated test film, resumable and on any number of processes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.classifier.network import weights_digest
from benchmarks.classifier.training_films import training_films
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import read_split
from benchmarks.data.records import LabelledFilm, labels_of
from benchmarks.methods import Explain, Method
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.run.files import file_digest, write_json, write_parquet
from benchmarks.run.stored import DamagedError, read_json
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.job import Job
from benchmarks.scoring.store import ScoreStore
from benchmarks.scoring.unit_store import EVERY, Row
from benchmarks.scoring.units import Step

WRITTEN = "score_tables.json"
"""In the cache: of which rows the tables of scores are, and what they held."""


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
    positives = annotated_positions(records)
    if not positives:
        raise UserError(f"the test split of {config.data_root} has no annotated film, so there is nothing to point at")
    network = load_classifier(config.classifier_dir)
    weights = weights_digest(network.state_dict())
    films = FilmDataset(records, config.image_size, config.cache_dir)
    device = torch.device(device)
    training = partial(training_films, config, device)
    return Job(network.to(device), weights, films, positives, config.scoring, config.seed, device, training)


def annotated_positions(records: Sequence[LabelledFilm], label: int = 1) -> Sequence[int]:
    """Positions of the films with annotations, or of those without; 8 bytes each."""
    return array("q", np.flatnonzero(labels_of(records) == label).tobytes())


def write_scores(
    config: Config, state: str, scores: Iterable[pd.DataFrame], true_scores: Iterable[pd.DataFrame]
) -> None:
    """Write ``scores.parquet`` and ``scores_true.parquet``, unless they hold these rows already.

    Args:
        config: of the run.
        state: of the rows, as of :meth:`benchmarks.scoring.unit_store.UnitStore.state`.
        scores: rows for the predicted class in parts; not looked at where they are written already.
        true_scores: the same for the true class.
    """
    tables = {"scores.parquet": scores, "scores_true.parquet": true_scores}
    kept = config.cache_dir / WRITTEN
    try:
        written = read_json(kept, dict[str, str])
    except DamagedError:  # or gone
        written = {}
    if written == {"rows": state, **{name: file_digest(config.out / name) for name in tables}}:
        return
    for name, parts in tables.items():
        write_parquet(config.out / name, parts)
    write_json(kept, {"rows": state, **{name: file_digest(config.out / name) for name in tables}})


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
        write_scores(config, store.state(), store.score_parts(), store.true_score_parts())
