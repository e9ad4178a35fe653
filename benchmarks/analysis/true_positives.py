"""Hit rate and mIoU on true positives alone and on all: the two tables of CheXlocalize.

Saporta et al.: *Benchmarking saliency methods for chest X-ray interpretation.* Nat. Mach. Intell. 2022, 4, 867.
A row is an image and a class, whether the image shows the class or not. On true positives, which show it and of which
the network says so, the map alone is judged. On all, network and map are judged together: where the network does not
say that the class is there, its mask is empty, and where it says so though nothing is annotated, the mask is wrong;
both have an intersection over union of 0. A hit asks for an annotation, so the hit rate on all counts every annotated
row, whatever the network says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.analysis.share_interval import share_interval
from benchmarks.analysis.tallies import percentile_interval
from benchmarks.analysis.weighing import Weighing, drawn_together

HIT_RATE = "hit_rate"
TRUE_POSITIVES, ALL = "true positives", "all"
MEAN = "(mean)"
"""In the place of a class."""
COLUMNS = (
    "measure", "rows", "method", "class", "value", "ci_low", "ci_high", "questions", "false_positives", "threshold",
)  # fmt: skip
"""Of ``localisation.csv``. ``rows`` are :data:`TRUE_POSITIVES` or :data:`ALL`; ``questions`` counts those that the
value is a mean over, ``false_positives`` the images beside them that count with 0; ``threshold`` is the probability
from which on the network says that the class is there, missing where it says one class an image."""
Array = npt.NDArray[np.float64]


def youden_threshold(present: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.floating]) -> float | None:
    """The probability at which sensitivity and specificity have the largest sum (Youden, Cancer 1950, 3, 32).

    Args:
        present: Whether images show a class, ``(images,)``.
        probabilities: The network's for the class, ``(images,)``.

    Returns:
        The largest such probability of an image; None where all images show the class, or none does.

    Example:
        >>> youden_threshold(np.array([True, True, False, False]), np.array([0.9, 0.3, 0.4, 0.1]))
        0.9
    """
    if present.all() or not present.any():
        return None
    order = np.argsort(-probabilities, kind="stable")
    shares = probabilities[order]
    # Whole numbers, the gains times both counts: rounding must not choose between equal ones.
    gains = np.cumsum(present[order]) * (~present).sum() - np.cumsum(~present[order]) * present.sum()
    whole = np.append(shares[1:] < shares[:-1], True)  # equal ones are on the same side of a threshold
    return float(shares[whole][gains[whole].argmax()])


def localisation_table(
    values: pd.DataFrame, rows: pd.DataFrame, thresholds: dict[str, float], seed: int, *, by_class: bool = True
) -> pd.DataFrame:
    """Means on true positives and on all, for each class and over classes.

    Args:
        values: Of questions, with the columns ``image`` (the question's name), ``method``, ``measure``, ``value``:
            hits as 0 and 1 (:data:`HIT_RATE`) and intersections over union. Questions may be missing.
        rows: One row an image and class, as far as the image shows it or the network says so, with the columns
            ``file``, ``class``, ``question`` (its name; None where the image does not show the class), ``says``
            (whether the network says that it does) and ``stands_for`` (how many images an image without any class
            stands for, else 1).
        thresholds: By class, where there are some.
        seed: Of the resampled images.
        by_class: Whether :data:`MEAN` is that of the classes that have a value, or that of all rows.

    Returns:
        The columns :data:`COLUMNS`.
    """
    measures = list(dict.fromkeys(values["measure"]))
    parts: list[tuple[object, ...]] = []
    for measure in measures:
        wide = values[values["measure"] == measure].pivot(index="image", columns="method", values="value")
        methods = list(wide.columns)
        for which in (TRUE_POSITIVES, ALL):
            table = _Slice(wide, rows, which, counts_wrong_masks=measure != HIT_RATE)
            whole = table.means(np.ones((1, table.images)), by_class)
            drawn = None if measure == HIT_RATE else table.drawn(seed, by_class)
            for place, name in enumerate([MEAN, *table.classes]):
                for column, method in enumerate(methods):
                    if drawn is None:  # shares of hits, as accuracies are
                        ends = table.share_ends(name, column, by_class)
                    else:
                        ends = percentile_interval(drawn[:, place, column])
                    counts = table.counts(name, column)
                    figures = (whole[0, place, column], *ends, *counts, thresholds.get(name, np.nan))
                    parts.append((measure, which, method, name, *figures))
    return pd.DataFrame(parts, columns=list(COLUMNS))


class _Slice:
    """The rows of one of the two tables, class by class, for a measure of all methods."""

    def __init__(self, wide: pd.DataFrame, rows: pd.DataFrame, which: str, *, counts_wrong_masks: bool) -> None:
        numbers, files = pd.factorize(rows["file"])
        self.images = len(files)
        self.classes = list(dict.fromkeys(rows["class"]))
        found = wide.reindex(rows["question"]).to_numpy(float)
        present, says = rows["question"].notna().to_numpy(), rows["says"].to_numpy(bool)
        there = ~np.isnan(found) & present[:, None]
        wrong = (~present & says & (which == ALL) & counts_wrong_masks) * rows["stands_for"].to_numpy(float)
        if which == TRUE_POSITIVES:
            there &= says[:, None]
        elif counts_wrong_masks:
            found = np.where(says[:, None], found, 0.0)  # an empty mask
        self._parts = []
        for name in self.classes:
            own = np.flatnonzero((rows["class"] == name).to_numpy())
            self._parts.append(
                (numbers[own], np.nan_to_num(found[own]) * there[own], there[own], present[own], wrong[own])
            )

    def counts(self, name: str, column: int) -> tuple[int, int]:
        """Number of questions of a class, or of all, that have a value, and of false positives."""
        parts = [part for of, part in zip(self.classes, self._parts, strict=True) if name in (MEAN, of)]
        return sum(int(part[2][:, column].sum()) for part in parts), round(sum(part[4].sum() for part in parts))

    def share_ends(self, name: str, column: int, by_class: bool) -> tuple[float, float]:
        """Ends of the interval of a class's share of hits, or of all classes'; NaN where there is no question."""
        parts = [
            (images[there[:, column]], found[there[:, column], column])
            for of, (images, found, there, *_) in zip(self.classes, self._parts, strict=True)
            if name in (MEAN, of)
        ]
        images, hits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        if not len(hits):
            return np.nan, np.nan
        classes = np.repeat(np.arange(len(parts)), [len(own) for own, _ in parts]) if by_class else None
        _, low, high = share_interval(hits[:, None], Weighing(images, classes))
        return float(low[0]), float(high[0])

    def drawn(self, seed: int, by_class: bool) -> Array:
        """Means on resampled images, float64 ``(resamples, 1 + classes, methods)``, the mean first."""
        return np.concatenate([self.means(block, by_class) for block in drawn_together(self.images, seed)])

    def means(self, weights: Array, by_class: bool) -> Array:
        """Means where images count so often, ``(draws, images)``."""
        sums, counts, shares = [], [], []
        for images, found, there, present, wrong in self._parts:
            of = weights[:, images]
            # Of the questions some may have no value; the false positives are counted whole.
            annotated, called = (of @ marks.astype(float) for marks in (present, wrong))
            with np.errstate(invalid="ignore"):
                shares.append((annotated / (annotated + called))[:, None])
            sums.append(of @ found)
            counts.append(of @ there.astype(float))
        with np.errstate(invalid="ignore", divide="ignore"):
            by = np.stack([total / count * share for total, count, share in zip(sums, counts, shares, strict=True)], 1)
            if by_class:
                known = ~np.isnan(by)
                mean = np.nan_to_num(by).sum(axis=1) / known.sum(axis=1)
            else:
                weight = [np.where(share > 0, count / share, 0.0) for count, share in zip(counts, shares, strict=True)]
                mean = np.sum(sums, axis=0) / np.sum(weight, axis=0)
        return np.concatenate([mean[:, None], by], axis=1)
