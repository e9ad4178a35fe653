"""The table of measures, and how measures of films become their means, all methods on the same resamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.analysis.hierarchical import mean_interval
from benchmarks.analysis.tallies import percentile_interval
from benchmarks.analysis.weighing import Weighing, drawn_films
from benchmarks.metrics.class_sensitivity import class_sensitivity
from benchmarks.metrics.explained_film import ExplainedFilm
from benchmarks.metrics.faithfulness import deletion, insertion
from benchmarks.metrics.froc import RATES, sensitivities
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.text_tables import within


@dataclass(frozen=True)
class Measure:
    """What a measure is called, how it is read and, where it is taken film by film, what takes it.

    Attributes:
        title: For the head of a column.
        words: What it is.
        better: ``"higher"`` or ``"lower"``; empty where neither is.
        digits: Behind the point.
        unit: Behind the title; shares with the unit "%" or "points" are shown times 100.
        source: Author and label in the bibliography of the documentation; empty for what has none.
        of_film: Its value on one film, None or NaN where it has none. Absent for what is taken otherwise, such
            as energy and IoU with the scores, FROC from the peaks of all films, and thresholds from other images.
    """

    title: str
    words: str
    better: str = ""
    digits: int = 3
    unit: str = ""
    source: tuple[str, str] | tuple[()] = ()
    of_film: Callable[[ExplainedFilm], float | None] | None = None

    @property
    def factor(self) -> int:
        """What a stored value is multiplied by to be shown."""
        return 100 if self.unit in ("%", "points") else 1

    @property
    def label(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def sentence(self) -> str:
        """The words as a sentence."""
        return f"{self.words[0].upper()}{self.words[1:]}." if self.words else ""


MEASURES = {
    "energy": Measure(
        "energy",
        "share of the map's positive values that lies in the annotation",
        "higher",
        source=("Wang et al.", "wang2020"),
    ),
    "iou": Measure(
        "IoU",
        "intersection over union of the annotation and the highest pixels of the map, as many as the annotation has",
        "higher",
    ),
    "froc": Measure(
        "FROC",
        "mean share of objects found by the peaks of the map at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a film",
        "higher",
        source=("Object-CXR", "objectcxr"),
    ),
    "insertion": Measure(
        "insertion",
        "area under the probability of the explained class while the image appears, the map's highest pixels first",
        "higher",
        source=("Petsiuk et al.", "petsiuk2018"),
        of_film=insertion,
    ),
    "deletion": Measure(
        "deletion",
        "area under the probability of the explained class while the image vanishes, the map's highest pixels first",
        "lower",
        source=("Petsiuk et al.", "petsiuk2018"),
        of_film=deletion,
    ),
    "otsu_iou": Measure(
        "IoU, Otsu",
        "intersection over union of the annotation and the part of the map above Otsu's threshold",
        "higher",
        source=("Saporta et al.", "saporta2022"),
    ),
    "tuned_iou": Measure(
        "IoU, tuned",
        "intersection over union of the annotation and the part of the map above a threshold, which is the best one "
        "for the class and the method on other images",
        "higher",
        source=("Saporta et al.", "saporta2022"),
    ),
    "max_box_accuracy": Measure(
        "MaxBoxAcc",
        "share of questions on which the box around the largest part of the map above a threshold has an intersection "
        "over union of at least 1/2 with an annotated box, at the best threshold for all",
        "higher",
        source=("Choe et al.", "choe2020"),
    ),
    "class_sensitivity": Measure(
        "class sensitivity",
        "rank correlation of the maps for the most and for the least likely class; a map that depends on the class has "
        "little",
        "lower",
        source=("Rebuffi et al.", "rebuffi2020"),
        of_film=class_sensitivity,
    ),
    "grid_energy": Measure(
        "grid energy",
        "share of the map's positive values that lies in the right cell of a grid of images of different classes",
        "higher",
        source=("Böhle et al.", "boehle2021"),
    ),
    "grid_maximum": Measure(
        "grid maximum",
        "share of the cells of such grids in which the maximum of the map for their class lies",
        "higher",
        source=("Böhle et al.", "boehle2021"),
    ),
    "grid_difull": Measure(
        "grid, DiFull",
        "the energy of such grids where each cell has a network of its own; less than 1 is invented",
        "higher",
        source=("Rao et al.", "rao2022"),
    ),
}
"""The measures of ``measures.csv``, in its order."""

FILM_MEASURES = {name: measure.of_film for name, measure in MEASURES.items() if measure.of_film is not None}
"""Those that are taken film by film."""

LOCALISATION = {
    "hit_rate": Measure(
        "hit rate",
        "share of questions on which the maximum of the map lies in the annotation, without tolerance",
        "higher",
        1,
        "%",
        source=("Saporta et al.", "saporta2022"),
    ),
}
"""The measures of ``localisation.csv``, beside those of :data:`MEASURES`."""

CHANGES = {
    "accuracy": Measure(
        "accuracy",
        f"Pointing Game, protocol `{MAIN_PROTOCOL}`, {within(MAIN_TOLERANCE)}, as a share of the films",
        "higher",
        1,
        "%",
    ),
    "accuracy_difference": Measure(
        "difference",
        "to the trained network's maps as they are, or between architectures (Difference of Means); paired on the same "
        "films",
        digits=1,
        unit="points",
    ),
    "accuracy_sd": Measure(
        "standard deviation",
        "standard deviation over seeds; without interval, as two or three seeds say too little of it",
        digits=1,
        unit="points",
    ),
    "rank_correlation": Measure(
        "rank correlation",
        "Spearman's correlation of a map with the trained network's, at the map's own size, with its signs; mean over "
        "films",
        digits=2,
    ),
    "moved_px": Measure(
        "moved",
        "median distance that the maximum moved, in pixels of the 600 frame; between runs, on films of which both "
        "predict the same class",
        digits=0,
        unit="px",
    ),
}
"""The measures of ``consistency.csv``."""


def measure_of(name: str) -> Measure:
    """A measure by its name; of one that is in no table, as another version may have it, no more than the name."""
    return MEASURES.get(name) or LOCALISATION.get(name) or CHANGES.get(name) or Measure(name.replace("_", " "), "")


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by their column ``measure`` in the order of :data:`MEASURES`; those of one measure keep theirs."""
    places = {name: place for place, name in enumerate(MEASURES)}
    return table.sort_values("measure", key=lambda names: names.map(places), kind="stable", ignore_index=True)


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
    fair = scores[scores["protocol"] == MAIN_PROTOCOL]
    complete = fair.groupby("method")["image"].transform("size") == films
    return fair[complete].melt(["image", "method"], ["energy", "iou"], "measure", "value")


def mean_table(values: Sequence[pd.DataFrame], seed: int, questions: pd.DataFrame | None = None) -> pd.DataFrame:
    """Means over films, and over seeds where there are several.

    Args:
        values: of one run, or of each seed on the same films: columns ``image``, ``method``, ``measure``, ``value``; a
            missing value is left out of the mean.
        seed: of the bootstrap.
        questions: by name, where rows are questions; those of an image are drawn together.

    Returns:
        The columns of :data:`TABLE_COLUMNS`, of the methods that all seeds have, with a 95 % interval as of
        :func:`benchmarks.analysis.hierarchical.mean_interval`; ``films`` are those with a value.
    """
    rows: list[tuple[object, ...]] = []
    for measure in sorted(values[0]["measure"].unique()):
        wide = [
            one[one["measure"] == measure].pivot(index="image", columns="method", values="value").astype(float)
            for one in values
        ]
        methods = [name for name in wide[0] if all(name in one for one in wide)]
        wide = [one.reindex(index=wide[0].index, columns=methods) for one in wide]
        there = [one.notna().to_numpy() for one in wide]
        filled = [one.fillna(0).to_numpy() for one in wide]
        weighing = Weighing.of(wide[0].index, questions, by_class=False)
        known = np.concatenate([one.to_numpy()[marks] for one, marks in zip(wide, there, strict=True)])
        bounds = (known.min(), known.max()) if known.size else (0.0, 1.0)  # a mean lies among its values
        ends = mean_interval(filled, seed, there=there, bounds=bounds, weighing=weighing)
        films = np.any(there, axis=0).sum(axis=0)
        for i, method in enumerate(methods):
            figures = (float(ends[0][i]), float(ends[1][i]), float(ends[2][i]), int(films[i]))
            rows.append((method, measure, *figures, MEASURES[measure].better))
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
        low, high = percentile_interval(sensitivities(own, counts, drawn_films(len(counts), seed)).mean(axis=1))
        rows.append((method, "froc", values.mean(), low, high, len(counts), MEASURES["froc"].better))
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS)), pd.DataFrame(curve, columns=list(FROC_COLUMNS))
