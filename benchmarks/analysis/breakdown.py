"""Accuracy by groups of films: size, shape, number and kind of the objects, and the class that is explained.

A film is in one group of each breakdown, so that groups add up to the whole and a hit is never counted for an object
that another one on the film earned; only the classes that are explained share their films.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import pandas as pd

from benchmarks.analysis.share_interval import wilson
from benchmarks.analysis.tallies import hit_matrices
from benchmarks.data.annotations import Shape

BREAKDOWNS = {
    "size": "largest object on the film (square root of its box, in percent of the film's side; thirds of the films)",
    "objects": "number of annotated objects on the film",
    "shape": "how the objects are annotated",
    "kind": "what the objects are, where known; a film with objects of several kinds counts as such only",
    "target": "the class that the maps explain (the two differ on the films that the classifier gets wrong)",
}

SEVERAL, OTHER = "several kinds", "other kinds"
MOST_KINDS = 12
"""Kinds with a group of their own, those of the most films."""


class AnnotatedFilm(Protocol):
    """A film with its shapes."""

    @property
    def name(self) -> str:
        """Of the film."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """What is annotated on it."""


def annotation_facts(films: Iterable[tuple[AnnotatedFilm, tuple[int, int]]]) -> pd.DataFrame:
    """What is known of each annotated film.

    Args:
        films: The films, each with its width and height in pixels as stored.

    Returns:
        Index ``image``; columns ``side`` (square root of the share of the film that the box of the
        largest object covers), ``count`` of objects, ``shape`` (``rectangle``, ``ellipse``, ``polygon`` or
        ``mixed``) and ``kind`` (what the objects are, :data:`SEVERAL` kinds, or None where one is unknown).
    """
    rows = []
    for record, (width, height) in films:
        sides = []
        for shape in record.shapes:
            xs = np.clip(shape.box[::2], 0, width)
            ys = np.clip(shape.box[1::2], 0, height)
            sides.append(float(np.sqrt(np.ptp(xs) * np.ptp(ys) / (width * height))))
        shapes = {shape.kind for shape in record.shapes}
        kinds = {shape.content for shape in record.shapes}
        kind = None if "" in kinds else kinds.pop() if len(kinds) == 1 else SEVERAL
        rows.append((record.name, max(sides), len(record.shapes), shapes.pop() if len(shapes) == 1 else "mixed", kind))
    return pd.DataFrame(rows, columns=["image", "side", "count", "shape", "kind"]).set_index("image")


def film_groups(facts: pd.DataFrame) -> pd.DataFrame:
    """Put every film into one group of each breakdown.

    Args:
        facts: As of :func:`annotation_facts`.

    Returns:
        Index ``image``, one ordered categorical column for each of :data:`BREAKDOWNS` that divides films: all but
        ``target``. Missing where a film's group is not known.
    """
    low, high = (100 * edge for edge in np.quantile(facts["side"], [1 / 3, 2 / 3]))
    sizes = [f"small, below {low:.0f} %", f"medium, {low:.0f} to {high:.0f} %", f"large, above {high:.0f} %"]
    third = (100 * facts["side"] >= low).astype(int) + (100 * facts["side"] > high).astype(int)
    counts = ["1 object", "2 objects", "3 or more"]
    shapes = ["rectangle", "ellipse", "polygon", "mixed"]
    films_of = facts.loc[facts["kind"] != SEVERAL, "kind"].value_counts()
    films_of = films_of.sort_index().sort_values(ascending=False, kind="stable")
    kinds = list(dict.fromkeys([*films_of.index[:MOST_KINDS], OTHER, SEVERAL]))  # which a kind may be called too
    rare = facts["kind"].notna() & ~facts["kind"].isin(kinds)
    return pd.DataFrame(
        {
            "size": pd.Categorical.from_codes(third, sizes, ordered=True),
            "objects": pd.Categorical.from_codes(facts["count"].clip(upper=3) - 1, counts, ordered=True),
            "shape": pd.Categorical(facts["shape"], shapes, ordered=True),
            "kind": pd.Categorical(facts["kind"].mask(rare, OTHER), kinds, ordered=True),
        },
        index=facts.index,
    )


def break_down(
    scores: pd.DataFrame,
    true_scores: pd.DataFrame,
    chance: pd.DataFrame,
    groups: pd.DataFrame,
    least_groups: int = 2,
) -> pd.DataFrame:
    """Accuracy of every method in every group.

    Args:
        scores: Rows of ``scores.parquet``.
        true_scores: Rows of ``scores_true.parquet``.
        chance: Columns ``image``, ``tolerance``, ``chance``.
        groups: As of :func:`film_groups`.
        least_groups: A breakdown with fewer is left out.

    Returns:
        Columns ``breakdown``, ``group``, ``protocol``, ``tolerance``, ``method``, ``films``, ``accuracy``,
        ``ci_low``, ``ci_high`` (95 % Wilson interval, which holds for few films) and ``chance`` (the mean of
        the group's films). The explained class is left out where the classifier is right on all films.
    """
    rows: list[tuple[object, ...]] = []
    # Where the classifier is right, the true class is the predicted one.
    played = ["image", "method", "protocol", "distance"]
    for_label = pd.concat([scores.loc[scores["target"] == scores["label"], played], true_scores[played]])
    levels = chance.pivot(index="image", columns="tolerance", values="chance")
    of_label = hit_matrices(for_label) if len(true_scores) else {}
    for (protocol, tolerance), hits in hit_matrices(scores).items():
        for breakdown in groups:
            names = groups[breakdown].cat.remove_unused_categories()
            for group in names.cat.categories if len(names.cat.categories) >= least_groups else []:
                films = names.index[names == group]
                level = float(levels.loc[films, tolerance].mean())
                rows += _group((breakdown, group, protocol, tolerance), hits.loc[films], level)
        if of_label:
            level = float(levels.loc[hits.index, tolerance].mean())
            by_class = {"predicted": hits, "true": of_label[protocol, tolerance]}
            for name, matrix in by_class.items():
                rows += _group(("target", f"{name} class", protocol, tolerance), matrix, level)
    columns = ["breakdown", "group", "protocol", "tolerance", "method", "films", "accuracy", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=[*columns, "chance"])


def _group(key: tuple[object, ...], hits: pd.DataFrame, chance: float) -> list[tuple[object, ...]]:
    """Rows of one group of films, one for each method."""
    shares = hits.to_numpy().mean(axis=0)
    low, high = wilson(shares, len(hits))
    return [(*key, method, len(hits), shares[i], low[i], high[i], chance) for i, method in enumerate(hits.columns)]
