"""The same method on two networks: which one's maps point better, where both were asked the same questions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.analysis.significance import ALPHA, holm, mcnemar
from benchmarks.analysis.tallies import hit_matrices, percentile_interval
from benchmarks.analysis.weighing import Weighing
from benchmarks.consistency.runs import Run

COLUMNS = (
    "run_a", "run_b", "protocol", "tolerance", "method", "difference", "ci_low", "ci_high", "only_a", "only_b", "p",
    "p_holm", "differs",
)  # fmt: skip
"""Of ``paired.csv``: the difference is the accuracy in the first run less that in the second; ``only_a`` counts the
films or questions on which the first alone hits."""


def paired_differences(runs: Sequence[Run]) -> pd.DataFrame:
    """Differences of accuracies between runs on the same films, or evaluations of the same questions.

    Args:
        runs: Two or more.

    Returns:
        One row for each pair of such runs, protocol, tolerance and common method with the columns :data:`COLUMNS`.
        Intervals are from resampled films, the same ones for both; p values are McNemar's as of
        :func:`benchmarks.analysis.significance.mcnemar`, corrected by Holm for the methods.
    """
    rows: list[tuple[object, ...]] = []
    for a, b in itertools.combinations(runs, 2):
        if a.played_on is None or a.played_on != b.played_on:
            continue
        of_b = hit_matrices(b.scores)
        for (protocol, tolerance), of_a in hit_matrices(a.scores).items():
            methods = [name for name in of_a if name in of_b[protocol, tolerance]]
            first, second = (matrix[methods].to_numpy() for matrix in (of_a, of_b[protocol, tolerance]))
            weighing = Weighing.of(of_a.index, a.questions)
            difference = first.astype(float) - second
            mean, draws = weighing.mean(difference), weighing.resampled(difference, seed=0)
            tests = [mcnemar(*columns, weighing.images) for columns in zip(first.T, second.T, strict=True)]
            adjusted = holm([p for _, _, p in tests])
            for i, method in enumerate(methods):
                figures = (mean[i], *percentile_interval(draws[:, i]), *tests[i], adjusted[i], adjusted[i] < ALPHA)
                rows.append((a.label, b.label, protocol, tolerance, method, *figures))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"differs": bool, "difference": np.float64})
