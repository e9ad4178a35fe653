"""From measures of films to a table: means and FROC with bootstrap intervals, all methods on the same resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.analysis.tallies import drawn_films, explaining, resampled_means
from benchmarks.metrics.froc import RATES, sensitivities

BETTER = {
    "energy": "higher",
    "iou": "higher",
    "froc": "higher",
    "insertion": "higher",
    "deletion": "lower",
    "class_sensitivity": "lower",
}
"""All measures, in the order of the table, and which of their values are better."""
TABLE_COLUMNS = ("method", "measure", "value", "ci_low", "ci_high", "films", "better")
FROC_COLUMNS = ("method", "false_positives_per_image", "sensitivity")


def overlap_values(scores: pd.DataFrame, films: int) -> pd.DataFrame:
    """Energy and intersection over union of the maps for the predicted class, protocol ``fair``.

    Args:
        scores: rows of ``scores.parquet``.
        films: number of annotated films; methods that were scored on fewer are left out.

    Returns:
        Columns ``image``, ``method``, ``measure``, ``value``.
    """
    fair = explaining(scores[scores["protocol"] == "fair"])
    complete = fair.groupby("method")["image"].transform("size") == films
    return fair[complete].melt(["image", "method"], ["energy", "iou"], "measure", "value")


def mean_table(values: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Means over films.

    Args:
        values: columns ``image``, ``method``, ``measure``, ``value``; a missing value is left out of the mean.
        seed: of the bootstrap.

    Returns:
        The columns of :data:`TABLE_COLUMNS`, with a 95 % percentile bootstrap interval; ``films`` are those with
        a value.
    """
    rows: list[tuple[object, ...]] = []
    for measure, group in values.groupby("measure"):
        wide = group.pivot(index="image", columns="method", values="value")
        there = wide.notna().to_numpy()
        with np.errstate(invalid="ignore"):  # 0 / 0, where a resample has no value
            # The same seed draws the same films twice: sums of values over numbers of values.
            sums = resampled_means(wide.fillna(0).to_numpy(float), seed)
            means = sums / resampled_means(there, seed)
        for i, method in enumerate(wide.columns):
            low, high = _interval(means[:, i])
            films = int(there[:, i].sum())
            rows.append((method, measure, wide[method].mean(), low, high, films, BETTER[str(measure)]))
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def froc_tables(
    peaks: pd.DataFrame, objects: Mapping[str, int], methods: Sequence[str], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """FROC of each method and its curve.

    Args:
        peaks: columns ``image``, ``method``, ``score`` and ``object``, as of :mod:`benchmarks.scoring.measure_batch`.
        objects: number of annotated objects by film, clean films included.
        methods: names, also of methods without any peak.
        seed: of the bootstrap.

    Returns:
        The mean of the sensitivities with the columns of :data:`TABLE_COLUMNS`, and the sensitivities at the
        challenge's rates with those of :data:`FROC_COLUMNS`.
    """
    number = {image: i for i, image in enumerate(objects)}
    counts = list(objects.values())
    rows: list[tuple[object, ...]] = []
    curve: list[tuple[object, ...]] = []
    for method in methods:
        own = peaks[peaks["method"] == method]
        own = own.assign(film=own["image"].map(number).astype(int))
        values = sensitivities(own, counts)[0]
        curve += [(method, rate, value) for rate, value in zip(RATES, values, strict=True)]
        low, high = _interval(sensitivities(own, counts, drawn_films(len(counts), seed)).mean(axis=1))
        rows.append((method, "froc", values.mean(), low, high, len(counts), BETTER["froc"]))
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS)), pd.DataFrame(curve, columns=list(FROC_COLUMNS))


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval; resamples without a value do not count."""
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
