"""From scores to numbers: accuracies with bootstrap intervals, all methods on the same resampled films.

Everything starts from a matrix of hits (films x methods), because methods play on the same films:
whatever compares two of them must be paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import ndtri

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
    return table[(table["protocol"] == MAIN_PROTOCOL) & (table["tolerance"] == MAIN_TOLERANCE)]


def resampled_means(values: np.ndarray, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of each column over films drawn with replacement, the same films for all columns.

    Args:
        values: ``(films, columns)``, bool or float.
        seed: of the draws.
        resamples: how many.

    Returns:
        float64 ``(resamples, columns)``.
    """
    return Weighing(np.arange(len(values))).resampled(values, seed, resamples)


def resampled_hits(
    hits: Sequence[pd.DataFrame],
    seed: int,
    questions: pd.DataFrame | None = None,
    resamples: int = RESAMPLES,
    *,
    by_class: bool = True,
) -> list[np.ndarray]:
    """Accuracies on resampled films; to draw takes longer than all else, so it is done once for all matrices.

    Args:
        hits: matrices as of :func:`hit_matrix`, of the same films.
        seed: of the draws.
        questions: by name, where rows are questions.
        resamples: how many.
        by_class: whether the accuracy of questions is the mean over classes.

    Returns:
        For each matrix float64 ``(resamples, columns)``.
    """
    weighing = Weighing.of(hits[0].index, questions, by_class=by_class)
    means = weighing.resampled(np.hstack([matrix.to_numpy() for matrix in hits]), seed, resamples)
    return np.split(means, np.cumsum([len(matrix.columns) for matrix in hits])[:-1], axis=1)


def bootstrap_interval(
    values: np.ndarray, seed: int, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of each column's mean over films.

    Args:
        values: ``(films, columns)``.
        seed: of the draws.
        resamples: how many.
        level: of the interval.

    Returns:
        Lower and upper ends, each ``(columns,)``.
    """
    tail = (1 - level) / 2
    low, high = np.quantile(resampled_means(values, seed, resamples), [tail, 1 - tail], axis=0)
    return low, high


def percentile_interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Ends of the interval of a number on resamples ``(resamples,)``; those on which it has no value do not count."""
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return np.nan, np.nan
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@cache  # the same few counts come again and again
def wilson(hits: int, films: int) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval of a share (J. Am. Stat. Assoc. 1927, 22, 209)."""
    z = float(ndtri(0.975))
    share, weight = hits / films, 1 + z**2 / films
    middle = share + z**2 / (2 * films)
    half = z * math.sqrt(share * (1 - share) / films + z**2 / (4 * films**2))
    return max(0.0, (middle - half) / weight), min(1.0, (middle + half) / weight)


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
    seed: int,
    order: list[str] | None = None,
    questions: pd.DataFrame | None = None,
    *,
    by_class: bool = True,
) -> pd.DataFrame:
    """Make the summary table.

    Args:
        scores: rows of ``scores.parquet``.
        seed: of the bootstrap.
        order: of the methods; alphabetical by default.
        questions: by name, where rows are questions, see :class:`benchmarks.analysis.weighing.Weighing`; others than
            these are left out.
        by_class: whether the accuracy of questions is the mean over classes.

    Returns:
        One row for each protocol, tolerance and completely scored method, with the columns of
        :data:`SUMMARY_COLUMNS`; accuracies and interval ends are shares.
    """
    seconds = seconds_per_image(scores)
    matrices = []
    for hits in hit_matrices(scores).values():
        chosen = hits[[name for name in (order or sorted(hits.columns)) if name in hits.columns]]
        matrices.append(chosen if questions is None else chosen[chosen.index.isin(questions.index)])
    weighing = Weighing.of(matrices[0].index, questions, by_class=by_class)
    images = len(np.unique(weighing.images))
    resampled = resampled_hits(matrices, seed, questions, by_class=by_class)
    rows = []
    settings = itertools.product(PROTOCOLS, TOLERANCES)
    for (protocol, tolerance), hits, draws in zip(settings, matrices, resampled, strict=True):
        mean = weighing.mean(hits.to_numpy())
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        for i, method in enumerate(hits.columns):
            row = (
                method, protocol, tolerance, mean[i], low[i], high[i], int(hits[method].sum()), images,
                seconds[method],
            )  # fmt: skip
            rows.append(row)
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
