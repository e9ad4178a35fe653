"""Means over films and seeds: how far another choice of films, and another training, could move them.

All seeds play on the same films, so films and seeds are crossed: a resample draws the seeds, then the films, the same
ones for every seed and every method.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri, stdtrit

from benchmarks.analysis.share_interval import wilson
from benchmarks.analysis.tallies import hit_matrices, hit_matrix, percentile_interval, seconds_per_image
from benchmarks.analysis.weighing import RESAMPLES, Weighing
from benchmarks.metrics.pointing_game import PROTOCOLS, TOLERANCES

Array = npt.NDArray[np.float64]
SEEDS_COLUMNS = (
    "method", "protocol", "tolerance", "accuracy", "ci_low", "ci_high", "sd", "lowest", "highest", "seeds", "images",
    "seconds_per_image",
)  # fmt: skip
"""Of ``summary.csv`` of several seeds; ``sd`` is the standard deviation over seeds."""
DIFFERENCE_COLUMNS = (
    "protocol", "tolerance", "better", "worse", "difference", "ci_low", "ci_high", "seeds_agree", "seeds", "holds",
)  # fmt: skip
"""Of ``differences.csv``: ``seeds_agree`` counts the seeds in which the one is better."""


def drawn_means(
    values: Sequence[npt.ArrayLike],
    seed: int,
    *,
    there: Sequence[npt.ArrayLike] | None = None,
    lot: int = 0,
    weighing: Weighing | None = None,
) -> Array:
    """Means of columns over films and seeds on resamples of both.

    A few seeds show less of their spread than there is: resampling n of them has (n - 1) / n of the variance that it
    should, and the tails of a normal distribution in the place of Student's t. What the draw of seeds changes is
    therefore widened by sqrt(n / (n - 1)) t / z, with the 97.5 % quantiles of t with n - 1 degrees of freedom and of
    the normal distribution, which is 2.7 for three seeds and 1.6 for five; without it, an interval from
    three seeds holds the truth three times in four at best.

    Args:
        values: For each seed ``(films, columns)``, films in one order; 0 where there is no value.
        seed: Of the draws; the same films are drawn for the same ``seed``.
        there: For each seed ``(films, columns)``, where there is a value; everywhere by default.
        lot: Tells apart what has seeds of its own, such as another architecture.
        weighing: Which rows are drawn together; each by itself by default.

    Returns:
        float64 ``(resamples, columns)``; not a number where a resample has no value.
    """
    rows = weighing or Weighing(np.arange(len(np.asarray(values[0]))))
    sums = np.stack([rows.resampled(matrix, seed) for matrix in values])
    counts = np.ones_like(sums) if there is None else np.stack([rows.resampled(matrix, seed) for matrix in there])
    seeds = len(sums)
    with np.errstate(invalid="ignore"):  # 0 / 0, where a resample has no value
        over_films: Array = sums.sum(axis=0) / counts.sum(axis=0)
        if seeds == 1:
            return over_films
        drawn = np.random.default_rng((seed, lot)).multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
        over_both = np.einsum("rs,src->rc", drawn, sums) / np.einsum("rs,src->rc", drawn, counts)
    widening = np.sqrt(seeds / (seeds - 1)) * stdtrit(seeds - 1, 0.975) / ndtri(0.975)
    return np.asarray(over_films + widening * (over_both - over_films))


def mean_interval(
    values: Sequence[npt.ArrayLike],
    seed: int,
    *,
    there: Sequence[npt.ArrayLike] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    weighing: Weighing | None = None,
) -> tuple[Array, Array, Array]:
    """Mean of each column over films and seeds, and the ends of its 95 % interval.

    Args:
        values: As of :func:`drawn_means`.
        seed: As of :func:`drawn_means`.
        there: As of :func:`drawn_means`.
        bounds: Between which a value lies, and so does its interval.
        weighing: As of :func:`drawn_means`.

    Returns:
        Means, lower and upper ends, each float64 ``(columns,)``; not a number for a column without a value.
    """
    counted = [np.ones(np.shape(matrix)) for matrix in values] if there is None else there
    with np.errstate(invalid="ignore"):
        means = np.sum([np.sum(m, axis=0) for m in values], axis=0) / np.sum(
            [np.sum(m, axis=0) for m in counted], axis=0
        )
    ends = [percentile_interval(column) for column in drawn_means(values, seed, there=there, weighing=weighing).T]
    low, high = np.clip(np.array(ends).reshape(-1, 2).T, *bounds)
    return means, low, high


def share_over_seeds(
    hits: Sequence[npt.ArrayLike], seed: int, *, there: Sequence[npt.ArrayLike] | None = None
) -> tuple[Array, Array, Array]:
    """Share of hits in each column over films and seeds, and the ends of its 95 % interval.

    Of one seed it is Wilson's, and so it is where all or none of several hit, of whom resamples know nothing: for as
    many films as a seed has on average.

    Args:
        hits: For each seed bool ``(films, columns)``, films in one order; False where a film does not count.
        seed: As of :func:`drawn_means`.
        there: As of :func:`drawn_means`.

    Returns:
        Shares, lower and upper ends, each float64 ``(columns,)``; not a number for a column without a film.
    """
    films = np.mean([np.sum(c, axis=0) for c in there or [np.ones(np.shape(matrix)) for matrix in hits]], axis=0)
    with np.errstate(invalid="ignore"):
        shares = np.mean([np.sum(matrix, axis=0) for matrix in hits], axis=0) / films
    ends = wilson(shares, films)
    if len(hits) > 1:
        drawn = mean_interval(hits, seed, there=there)[1:]
        alike = (shares == 0) | (shares == 1)
        ends = np.where(alike, ends[0], drawn[0]), np.where(alike, ends[1], drawn[1])
    return shares, *ends


def common_hits(
    scores: Sequence[pd.DataFrame], methods: Sequence[str]
) -> dict[tuple[str, int], list[npt.NDArray[np.bool_]]]:
    """For each protocol and tolerance the hits of each seed, bool ``(films, methods)``, films by name."""
    matrices = [hit_matrices(table) for table in scores]
    return {
        setting: [of_seed[setting][list(methods)].to_numpy() for of_seed in matrices]
        for setting in itertools.product(PROTOCOLS, TOLERANCES)
    }


def common_methods(scores: Sequence[pd.DataFrame], order: Sequence[str]) -> list[str]:
    """Methods of ``order`` that were scored on all films of every seed."""
    complete = [set(hit_matrix(table, PROTOCOLS[0], TOLERANCES[0]).columns) for table in scores]
    return [name for name in order if all(name in names for names in complete)]


def summarise_seeds(scores: Sequence[pd.DataFrame], seed: int, order: Sequence[str]) -> pd.DataFrame:
    """Accuracies over seeds.

    Args:
        scores: Rows of ``scores.parquet`` of each seed, on the same films.
        seed: Of the resampling.
        order: Of the methods.

    Returns:
        One row for each protocol, tolerance and method that all seeds have, with the columns :data:`SEEDS_COLUMNS`.
    """
    methods = common_methods(scores, order)
    seconds = pd.concat([seconds_per_image(table) for table in scores], axis=1).median(axis=1)
    rows: list[tuple[object, ...]] = []
    for (protocol, tolerance), hits in common_hits(scores, methods).items():
        by_seed = np.stack([matrix.mean(axis=0) for matrix in hits])
        means, low, high = share_over_seeds(hits, seed)
        spread = by_seed.std(axis=0, ddof=1), by_seed.min(axis=0), by_seed.max(axis=0)
        for i, method in enumerate(methods):
            figures = (means[i], low[i], high[i], *(values[i] for values in spread))
            rows.append((method, protocol, tolerance, *figures, len(hits), len(hits[0]), seconds[method]))
    return pd.DataFrame(rows, columns=list(SEEDS_COLUMNS))


def differences(scores: Sequence[pd.DataFrame], seed: int, order: Sequence[str]) -> pd.DataFrame:
    """Which of two methods is better, and whether that holds over seeds.

    A difference holds when it has the same sign in every seed and the 95 % interval of its mean, over films and seeds,
    lies on one side of 0. Intervals are not corrected for the number of pairs.

    Args:
        scores: Rows of ``scores.parquet`` of each seed, on the same films.
        seed: Of the resampling.
        order: Of the methods; of two that are equal the first is called the better.

    Returns:
        One row for each protocol, tolerance and pair with the columns :data:`DIFFERENCE_COLUMNS`, the best first.
    """
    methods = common_methods(scores, order)
    rows: list[tuple[object, ...]] = []
    for (protocol, tolerance), hits in common_hits(scores, methods).items():
        by_seed = np.stack([matrix.mean(axis=0) for matrix in hits])
        draws, means = drawn_means(hits, seed), by_seed.mean(axis=0)
        ranking = np.argsort(-means, kind="stable")
        for a, b in itertools.combinations(ranking, 2):
            low, high = np.clip(percentile_interval(draws[:, a] - draws[:, b]), -1, 1)
            agree = int((by_seed[:, a] > by_seed[:, b]).sum())
            figures = (means[a] - means[b], low, high, agree, len(hits), agree == len(hits) and low > 0)
            rows.append((protocol, tolerance, methods[a], methods[b], *figures))
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))
