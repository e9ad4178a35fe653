"""Accuracy by kinds of films (size, shape and number of objects, the classifier's verdict) and by explained class."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from benchmarks.film_batch import Job
from benchmarks.pointing_game import PROTOCOLS, TOLERANCES
from benchmarks.statistics import explaining, hit_matrix

BREAKDOWNS = {
    "size": "largest object on the film (square root of its box, in percent of the film's side; thirds of the films)",
    "objects": "number of annotated objects on the film",
    "shape": "how the objects are annotated",
    "verdict": "the classifier's verdict on the film",
    "target": "the class that the maps explain (the two differ on the films that the classifier gets wrong)",
}


def film_facts(job: Job) -> pd.DataFrame:
    """What is known of each annotated film.

    Returns:
        Index ``image``; columns ``side`` (square root of the share of the film that the box of the
        largest object covers), ``count`` of objects, and ``shape``: ``rectangle``, ``ellipse``,
        ``polygon`` or ``mixed``.
    """
    rows = []
    for position in job.positives:
        record = job.films.records[position]
        width, height = job.films.original_sizes[position]
        sides = []
        for shape in record.shapes:
            xs = np.clip(shape.box[::2], 0, width)
            ys = np.clip(shape.box[1::2], 0, height)
            sides.append(float(np.sqrt(np.ptp(xs) * np.ptp(ys) / (width * height))))
        kinds = {shape.kind for shape in record.shapes}
        rows.append((record.name, max(sides), len(record.shapes), kinds.pop() if len(kinds) == 1 else "mixed"))
    return pd.DataFrame(rows, columns=["image", "side", "count", "shape"]).set_index("image")


def film_groups(facts: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Put every film into one group of each breakdown.

    Args:
        facts: As of :func:`film_facts`.
        scores: Rows of ``scores.parquet``.

    Returns:
        Index ``image``, one ordered categorical column for each of :data:`BREAKDOWNS` that divides films: all but
        ``target``.
    """
    low, high = (100 * edge for edge in np.quantile(facts["side"], [1 / 3, 2 / 3]))
    sizes = [f"small, below {low:.0f} %", f"medium, {low:.0f} to {high:.0f} %", f"large, above {high:.0f} %"]
    third = (100 * facts["side"] >= low).astype(int) + (100 * facts["side"] > high).astype(int)
    counts = ["1 object", "2 objects", "3 or more"]
    shapes = ["rectangle", "ellipse", "polygon", "mixed"]
    verdicts = ["right: object", "wrong: clean"]
    films = explaining(scores).drop_duplicates("image").set_index("image").reindex(facts.index)
    wrong = (films["target"] != films["label"]).astype(int)
    return pd.DataFrame(
        {
            "size": pd.Categorical.from_codes(third, sizes, ordered=True),
            "objects": pd.Categorical.from_codes(facts["count"].clip(upper=3) - 1, counts, ordered=True),
            "shape": pd.Categorical(facts["shape"], shapes, ordered=True),
            "verdict": pd.Categorical.from_codes(wrong, verdicts, ordered=True),
        },
        index=facts.index,
    )


def break_down(scores: pd.DataFrame, chance: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every method in every group.

    Args:
        scores: Rows of ``scores.parquet``.
        chance: Columns ``image``, ``tolerance``, ``chance``.
        groups: As of :func:`film_groups`.

    Returns:
        Columns ``breakdown``, ``group``, ``protocol``, ``tolerance``, ``method``, ``films``, ``accuracy``,
        ``ci_low``, ``ci_high`` (95 % Wilson interval, which holds for few films) and ``chance`` (the mean of
        the group's films). A breakdown with one group only is left out, and so is the explained class where
        the classifier is right on all films.
    """
    rows: list[tuple[object, ...]] = []
    levels = chance.pivot(index="image", columns="tolerance", values="chance")
    for protocol in PROTOCOLS:
        for tolerance in TOLERANCES:
            hits = hit_matrix(scores, protocol, tolerance)
            for breakdown in groups:
                names = groups[breakdown].cat.remove_unused_categories()
                for group in names.cat.categories if len(names.cat.categories) > 1 else []:
                    films = names.index[names == group]
                    level = float(levels.loc[films, tolerance].mean())
                    rows += _group((breakdown, group, protocol, tolerance), hits.loc[films], level)
            if len(explaining(scores)) < len(scores):
                level = float(levels.loc[hits.index, tolerance].mean())
                for target in ("predicted", "true"):
                    key = ("target", f"{target} class", protocol, tolerance)
                    rows += _group(key, hit_matrix(scores, protocol, tolerance, target), level)
    columns = ["breakdown", "group", "protocol", "tolerance", "method", "films", "accuracy", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=[*columns, "chance"])


def _group(key: tuple[object, ...], hits: pd.DataFrame, chance: float) -> list[tuple[object, ...]]:
    """Rows of one group of films, one for each method."""
    rows = []
    for method in hits.columns:
        count = int(hits[method].sum())
        interval = binomtest(count, len(hits)).proportion_ci(method="wilson")
        rows.append((*key, method, len(hits), count / len(hits), interval.low, interval.high, chance))
    return rows
