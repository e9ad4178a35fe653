"""Which differences between methods are real: paired tests on the same films, corrected for their number."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import bdtr, gammaln

from benchmarks.analysis.tallies import hit_matrices, resampled_hits
from benchmarks.analysis.weighing import Weighing

ALPHA = 0.05


def mcnemar(
    a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], images: npt.NDArray[np.int64] | None = None
) -> tuple[int, int, float]:
    """McNemar's exact test of two methods on the same films (Biometrika 1947, 12, 153), as the permutation test it is.

    Under the null hypothesis the two methods may change places on any film, so each sign of their difference on a film
    is a fair coin, and the p value is the chance of a sum of differences as far from 0. Rows of one image say much the
    same and change places together: their differences are added, and the image has one coin. The sums of all outcomes
    are counted exactly. Where every image has one row this is McNemar's test to the last digit.

    Args:
        a: Hits of one method, bool ``(rows,)``.
        b: Hits of the other.
        images: Number of the image of each row, ``(rows,)``; by default each row has an image of its own.

    Returns:
        Rows that only ``a`` hits, rows that only ``b`` hits, and the two-sided p value.

    Example:
        >>> a, b = np.array([True] * 6), np.array([False] * 6)
        >>> mcnemar(a, b), mcnemar(a, b, np.array([0, 0, 0, 1, 1, 1]))
        ((6, 0, 0.03125), (6, 0, 0.5))
    """
    difference = a.astype(np.int64) - b
    only_a, only_b = int((difference > 0).sum()), int((difference < 0).sum())
    if images is not None:
        difference = np.bincount(images, difference).astype(np.int64)
    sizes, counts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    of_size = dict(zip(sizes.tolist(), counts.tolist(), strict=True))
    single = of_size.pop(1, 0)
    shares = np.ones(1)  # of the sums of images with a difference of 2 and more, from the lowest sum to the highest
    for size, count in of_size.items():
        own = np.zeros(2 * size * count + 1)
        own[:: 2 * size] = _coins(count)
        shares = np.convolve(shares, own)
    sums = np.arange(len(shares)) - len(shares) // 2
    # The single ones must bring the sum to the other end; both tails are alike.
    heads = (single - abs(int(difference.sum())) - sums) // 2
    tail = np.where(heads < 0, 0.0, bdtr(np.clip(heads, 0, single), single, 0.5))
    return only_a, only_b, min(1.0, 2 * float(shares @ tail))


def _coins(count: int) -> npt.NDArray[np.float64]:
    """Chances of 0, 1, ... ``count`` heads of as many fair coins."""
    heads = np.arange(count + 1)
    chances: npt.NDArray[np.float64] = np.exp(
        gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1) - count * np.log(2)
    )
    return chances


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Adjust p values for their number (Holm, Scand. J. Statist. 1979, 6, 65).

    Args:
        p_values: ``(tests,)``.

    Returns:
        Adjusted values in the same order; comparing them with alpha keeps the chance of any false
        difference below alpha.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def ranking(hits: pd.DataFrame, questions: pd.DataFrame | None = None) -> list[str]:
    """Methods by accuracy, the best first; equal ones in the order of the columns."""
    return list(_accuracy(hits, questions).sort_values(ascending=False, kind="stable").index)


def _accuracy(hits: pd.DataFrame, questions: pd.DataFrame | None) -> pd.Series:
    return pd.Series(Weighing.of(hits.index, questions).mean(hits.to_numpy()), hits.columns)


def against_best(hits: pd.DataFrame, questions: pd.DataFrame | None = None) -> pd.DataFrame:
    """Test every method against the best one.

    Args:
        hits: Bool, films x methods, as of :func:`benchmarks.analysis.tallies.hit_matrix`.
        questions: By name, where rows are questions: the accuracy is the mean over their classes then, and those of an
            image are tested together.

    Returns:
        One row a method, the best first, with the columns ``method``, ``accuracy``, ``best`` (its
        name), ``only_best`` and ``only_method`` (films that one of the two alone hits), ``p``, ``p_holm``
        (corrected for the number of methods) and ``differs`` (``p_holm`` below :data:`ALPHA`).
    """
    accuracy = _accuracy(hits, questions)
    order = ranking(hits, questions)
    best, rest = order[0], order[1:]
    images = Weighing.of(hits.index, questions).images
    tests = [mcnemar(hits[best].to_numpy(), hits[method].to_numpy(), images) for method in rest]
    adjusted = holm([p for _, _, p in tests])
    rows = [(best, accuracy[best], best, 0, 0, 1.0, 1.0, False)]
    for method, (only_best, only_method, p), corrected in zip(rest, tests, adjusted, strict=True):
        row = (method, accuracy[method], best, only_best, only_method, p, corrected, bool(corrected < ALPHA))
        rows.append(row)
    columns = ["method", "accuracy", "best", "only_best", "only_method", "p", "p_holm", "differs"]
    return pd.DataFrame(rows, columns=columns)


def tied_groups(hits: pd.DataFrame, questions: pd.DataFrame | None = None) -> list[list[str]]:
    """Groups of methods that the films do not tell apart: the bars of a critical-difference diagram.

    All pairs are tested and corrected together. A group is a run of neighbours in the ranking, as long
    as possible, of which no two differ.

    Returns:
        Groups of two or more methods, the best first; they may overlap.
    """
    order = ranking(hits, questions)
    pairs = list(itertools.combinations(range(len(order)), 2))
    columns = [hits[method].to_numpy() for method in order]
    images = Weighing.of(hits.index, questions).images
    adjusted = holm([mcnemar(columns[i], columns[j], images)[2] for i, j in pairs])
    return neighbours(order, {pair for pair, p in zip(pairs, adjusted, strict=True) if p < ALPHA})


def neighbours(order: list[str], differs: set[tuple[int, int]]) -> list[list[str]]:
    """Runs of neighbours in a ranking, as long as possible, of which no two differ.

    Args:
        order: The methods, the best first.
        differs: Pairs of places that differ, the better first.

    Returns:
        Groups of two or more methods, the best first; they may overlap.
    """
    groups: list[list[str]] = []
    reached = 0
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not any((i, end) in differs for i in range(start, end)):
            end += 1
        if end > reached and end - start > 1:
            groups.append(order[start:end])
        reached = max(reached, end)
    return groups


def rank_intervals(means: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Between which ranks each method lies.

    Args:
        means: Of resampled films, ``(resamples, methods)``.

    Returns:
        The 2.5th and the 97.5th percentile of the ranks, whole numbers, each ``(methods,)``, 1 the best; equal methods
        have each of the ranks that they share.
    """
    losses = pd.DataFrame(-np.asarray(means))
    low = np.quantile(losses.rank(axis=1, method="min"), 0.025, axis=0, method="lower")
    high = np.quantile(losses.rank(axis=1, method="max"), 0.975, axis=0, method="higher")
    return low, high


def significance_table(scores: pd.DataFrame, seed: int, questions: pd.DataFrame | None = None) -> pd.DataFrame:
    """Tests against the best and rank intervals, for every protocol and tolerance.

    Args:
        scores: Rows of ``scores.parquet``.
        seed: Of the resampling.
        questions: By name, where rows are questions.

    Returns:
        The columns of :func:`against_best` behind ``protocol`` and ``tolerance``, then ``rank_low`` and ``rank_high``.
    """
    matrices = hit_matrices(scores)
    resampled = resampled_hits(list(matrices.values()), seed, questions)
    parts = []
    for ((protocol, tolerance), hits), means in zip(matrices.items(), resampled, strict=True):
        low, high = rank_intervals(means)
        ranks = pd.DataFrame({"rank_low": low, "rank_high": high}, index=hits.columns)
        part = against_best(hits, questions).join(ranks, on="method")
        part.insert(0, "tolerance", tolerance)
        part.insert(0, "protocol", protocol)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
