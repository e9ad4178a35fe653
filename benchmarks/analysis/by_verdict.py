"""Accuracy where the classifier says "object" and where it misses the object, and whose the misses are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.analysis.hierarchical import common_hits, common_methods, share_over_seeds

Marks = npt.NDArray[np.bool_]
FOUND, MISSED = "object", "clean"
"""What the classifier says of a film with an annotated object."""
VERDICT_TABLE = (
    "method", "protocol", "tolerance", "verdict", "accuracy", "ci_low", "ci_high", "films", "misses",
    "share_of_misses", "share_low", "share_high",
)  # fmt: skip
"""Of ``summary_verdicts.csv``. ``share_of_misses`` is the part of all misses of the method that lie on the films of
this verdict: in the rows ``clean``, what share of its misses are the classifier's. ``films`` and ``misses`` are summed
over seeds."""


def by_verdict(scores: Sequence[pd.DataFrame], seed: int, order: Sequence[str]) -> pd.DataFrame:
    """Accuracies by the classifier's verdict.

    Args:
        scores: Rows of ``scores.parquet`` of one run, or of each of several seeds on the same films.
        seed: Of the resampling.
        order: Of the methods.

    Returns:
        One row for each protocol, tolerance, method and verdict with the columns :data:`VERDICT_TABLE`. Intervals are
        those of :func:`benchmarks.analysis.hierarchical.share_over_seeds`. Where there is no film of a verdict, or no
        miss, the figure is not a number.
    """
    methods = common_methods(scores, order)
    said = [_says_object(table) for table in scores]
    rows: list[tuple[object, ...]] = []
    for (protocol, tolerance), hits in common_hits(scores, methods).items():
        misses = [~matrix for matrix in hits]
        for verdict in (FOUND, MISSED):
            films = [np.broadcast_to((one == (verdict == FOUND))[:, None], hits[0].shape) for one in said]
            accuracy = share_over_seeds([h & f for h, f in zip(hits, films, strict=True)], seed, there=films)
            here = [m & f for m, f in zip(misses, films, strict=True)]
            share = share_over_seeds(here, seed, there=misses)
            count = sum(int(f[:, :1].sum()) for f in films)
            for i, method in enumerate(methods):
                figures = (*(ends[i] for ends in accuracy), count, sum(int(m[:, i].sum()) for m in here))
                rows.append((method, protocol, tolerance, verdict, *figures, *(ends[i] for ends in share)))
    return pd.DataFrame(rows, columns=list(VERDICT_TABLE))


def missed_share(scores: Sequence[pd.DataFrame]) -> list[float]:
    """Share of the annotated films that the classifier calls clean, of each run."""
    return [float(1 - _says_object(table).mean()) for table in scores]


def _says_object(scores: pd.DataFrame) -> Marks:
    """Whether the classifier is right on each film, bool (films,), films by name as in a matrix of hits."""
    films = scores[["image", "target", "label"]].drop_duplicates("image").sort_values("image")
    return np.asarray(films["target"] == films["label"], dtype=bool)
