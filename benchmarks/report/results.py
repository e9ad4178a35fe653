"""What the steps before left in the run directory, read at one moment, as another process may be adding to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from benchmarks.methods import METHODS, select_methods
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL
from benchmarks.run.config import OPEN, Config
from benchmarks.run.errors import UserError
from benchmarks.scoring.job import Job
from benchmarks.scoring.score import ScoreStep


@dataclass(frozen=True)
class Results:
    """Scores of the configuration of a run.

    Attributes:
        scores: Rows of ``scores.parquet``.
        true_scores: Rows of ``scores_true.parquet``.
        verdicts: One row a film, see :data:`benchmarks.scoring.store.VERDICT_COLUMNS`.
        chance: Columns ``image``, ``tolerance``, ``chance``.
        failures: Why methods that were asked for are not in the tables, by name.
        complete: Names of the methods that were scored on all films.
        state: Of the rows, as of :meth:`benchmarks.scoring.store.ScoreStore.state`.
    """

    scores: pd.DataFrame
    true_scores: pd.DataFrame
    verdicts: pd.DataFrame
    chance: pd.DataFrame
    failures: dict[str, str]
    complete: list[str]
    state: str

    def of(self, methods: Sequence[str]) -> Results:
        """The same for some methods alone.

        Raises:
            UserError: None of them was scored on all films.
        """
        complete = [name for name in self.complete if name in methods]
        if not complete:
            reasons = "; ".join(f"{method}: {reason}" for method, reason in self.failures.items())
            raise UserError(f"no method could run, choose others with --methods. {reasons}")
        scores, true_scores = (table[table["method"].isin(methods)] for table in (self.scores, self.true_scores))
        return replace(self, scores=scores, true_scores=true_scores, complete=complete)


def read_results(config: Config, job: Job) -> Results:
    """Read the scores.

    Raises:
        UserError: There are no complete scores of this configuration, or no method could run.
    """
    with ScoreStep.reading(config, job) as store:
        failures = store.failures()
        scores, true_scores = _of_today(store.scores()), _of_today(store.true_scores())
        verdicts, chance, state = store.verdicts(), store.chance(), store.state()
    films = scores.loc[scores["protocol"] == MAIN_PROTOCOL, "method"].value_counts()  # a film has one row of each
    complete = [name for name in METHODS if films.get(name, 0) == len(job.positives)]
    if not complete and failures:
        reasons = "; ".join(f"{method}: {reason}" for method, reason in failures.items())
        raise UserError(f"no method of {config.out} could run, choose others with --methods. {reasons}")
    if not complete:
        raise UserError(
            f"{config.out} holds no complete scores of this configuration: run `python -m benchmarks "
            f"{'evaluate' if config.preset == OPEN else 'score'}` with the same options first"
        )
    for method in select_methods(config.scoring.methods):
        if method.name not in complete:
            failures.setdefault(method.name, "not scored on all films")
    return Results(scores, true_scores, verdicts, chance, failures, complete, state)


def _of_today(table: pd.DataFrame) -> pd.DataFrame:
    """A table without methods that were removed from the benchmark since; as a rule there are none, and no copy."""
    known = table["method"].isin(METHODS)
    return table if known.all() else table[known]
