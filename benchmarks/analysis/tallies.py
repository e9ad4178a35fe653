"""From scores to numbers: accuracies with their intervals, and all methods on the same resampled films.

Everything starts from a matrix of hits (films x methods), because methods play on the same films:
whatever compares two of them must be paired.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.analysis.share_interval import share_interval
from benchmarks.analysis.weighing import RESAMPLES, Weighing
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE, PROTOCOLS, TOLERANCES, is_hit

SUMMARY_COLUMNS = (
    "method", "protocol", "tolerance", "accuracy", "ci_low", "ci_high", "hits", "images", "seconds_per_image",
)  # fmt: skip


def hit_matrix(scores: pd.DataFrame, protocol: str, tolerance: float) -> pd.DataFrame:
    """Hits as a matrix of films x methods.

    Args:
        scores: rows of ``scores.parquet``.
        protocol: ``"paper"`` or ``"fair"``.
        tolerance: in pixels of the frame.

    Returns:
        bool, one row a film, one column for each method that was scored on all of the films.
    """
    return _hits(_distances(scores, protocol), tolerance)


def hit_matrices(scores: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """Matrices of hits for each protocol and tolerance: to bring the rows into their form takes longer than to compare.

    Args:
        scores: rows of ``scores.parquet``.
    """
    found: dict[tuple[str, int], pd.DataFrame] = {}
    for protocol in PROTOCOLS:
        distances = _distances(scores, protocol)
        found.update({(protocol, tolerance): _hits(distances, tolerance) for tolerance in TOLERANCES})
    return found


def _distances(scores: pd.DataFrame, protocol: str) -> pd.DataFrame:
    chosen = scores.loc[scores["protocol"] == protocol, ["image", "method", "distance"]]
    distances = chosen.pivot(index="image", columns="method", values="distance")
    played = chosen["method"].value_counts()
    return distances[[method for method in distances if played[method] == len(distances)]]


def _hits(distances: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    return pd.DataFrame(is_hit(distances.to_numpy(float), tolerance), distances.index, distances.columns)


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table by protocol and tolerance that stand for all where one figure must do."""
    return rows_at(table, MAIN_PROTOCOL, MAIN_TOLERANCE)


def rows_at(table: pd.DataFrame, protocol: str, tolerance: int) -> pd.DataFrame:
    """The rows of a table by protocol and tolerance that are of one of each."""
    return table[(table["protocol"] == protocol) & (table["tolerance"] == tolerance)]


def resampled_hits(
    hits: Sequence[pd.DataFrame], seed: int, questions: pd.DataFrame | None = None, resamples: int = RESAMPLES
) -> list[np.ndarray]:
    """Accuracies on resampled films; to draw takes longer than all else, so it is done once for all matrices.

    Args:
        hits: matrices as of :func:`hit_matrix`, of the same films.
        seed: of the draws.
        questions: by name, where rows are questions.
        resamples: how many.

    Returns:
        For each matrix float64 ``(resamples, columns)``.
    """
    weighing = Weighing.of(hits[0].index, questions)
    means = weighing.resampled(np.hstack([matrix.to_numpy() for matrix in hits]), seed, resamples)
    return np.split(means, np.cumsum([len(matrix.columns) for matrix in hits])[:-1], axis=1)


def percentile_interval(draws: np.ndarray) -> tuple[float, float]:
    """Ends of the 95 % interval of a number on resamples ``(resamples,)``; those without a value do not count."""
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return np.nan, np.nan
    low, high = np.quantile(draws, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return float(low), float(high)


def median_interval(values: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Median and its 95 % percentile bootstrap interval over films.

    Args:
        values: ``(films,)``.
        seed: of the draws.

    Returns:
        Median, lower and upper end; NaN without films.
    """
    films = len(values)
    if films == 0:
        return np.nan, np.nan, np.nan
    generator = np.random.default_rng(seed)
    at_once = max(1, 1_000_000 // films)
    sizes = [min(at_once, RESAMPLES - start) for start in range(0, RESAMPLES, at_once)]
    medians = [np.median(values[generator.integers(films, size=(size, films))], axis=1) for size in sizes]
    return float(np.median(values)), *percentile_interval(np.concatenate(medians))


def seconds_per_image(scores: pd.DataFrame) -> pd.Series:
    """Median over batches of the seconds an image, by method; the first batch, a warm-up, only counts when alone."""
    batches = scores.drop_duplicates(["method", "batch"])
    medians = batches.groupby("method")["seconds"].median()
    medians.update(batches[batches["batch"] > 0].groupby("method")["seconds"].median())
    return medians


def summarise(
    scores: pd.DataFrame,
    order: list[str] | None = None,
    questions: pd.DataFrame | None = None,
    *,
    by_class: bool = True,
) -> pd.DataFrame:
    """Make the summary table.

    Args:
        scores: rows of ``scores.parquet``.
        order: of the methods; alphabetical by default.
        questions: by name, where rows are questions, see :class:`benchmarks.analysis.weighing.Weighing`; others than
            these are left out.
        by_class: whether the accuracy of questions is the mean over classes.

    Returns:
        One row for each protocol, tolerance and completely scored method, with the columns of
        :data:`SUMMARY_COLUMNS`; accuracies and the ends of their 95 % intervals, as of
        :func:`benchmarks.analysis.share_interval.share_interval`, are shares.
    """
    seconds = seconds_per_image(scores)
    matrices = hit_matrices(scores)
    if questions is not None:
        matrices = {setting: hits[hits.index.isin(questions.index)] for setting, hits in matrices.items()}
    weighing = Weighing.of(next(iter(matrices.values())).index, questions, by_class=by_class)
    images = len(np.unique(weighing.images))
    rows = []
    for (protocol, tolerance), hits in matrices.items():
        chosen = hits[[name for name in (order or sorted(hits.columns)) if name in hits.columns]]
        accuracy, low, high = share_interval(chosen.to_numpy(), weighing)
        for i, method in enumerate(chosen.columns):
            counts = (int(chosen[method].sum()), images)
            rows.append((method, protocol, tolerance, accuracy[i], low[i], high[i], *counts, seconds[method]))
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def status_counts(scores: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """How many maps were constant and not finite, by method, with the columns ``constant`` and ``non_finite``."""
    chosen = scores[scores["protocol"] == protocol]
    counts = pd.crosstab(chosen["method"], chosen["status"])
    return counts.reindex(columns=["constant", "non_finite"], fill_value=0)


def mean_chance(chance: pd.DataFrame, questions: pd.DataFrame | None = None) -> dict[int, float]:
    """Chance level by tolerance: the mean of the share of the frame that is a hit, weighed as accuracies are."""
    levels = chance.pivot(index="image", columns="tolerance", values="chance")
    means = Weighing.of(levels.index, questions).mean(levels.to_numpy())
    return {int(tolerance): float(value) for tolerance, value in zip(levels.columns, means, strict=True)}
