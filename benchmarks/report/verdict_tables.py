"""Accuracies by the classifier's verdict, and true positives, in the forms in which reports show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis.by_verdict import FOUND, MISSED
from benchmarks.analysis.measure_table import measure_of
from benchmarks.analysis.true_positives import ALL, MEAN, TRUE_POSITIVES
from benchmarks.metrics.pointing_game import MAIN_TOLERANCE, TOLERANCES
from benchmarks.run.text_tables import counted, markdown_table, with_interval, within

SHOWN = (TOLERANCES[0], MAIN_TOLERANCE)
NOTES = {
    TRUE_POSITIVES: (
        "Images that show the class, and of which the network says so: with a probability of one half at least, or of "
        "the threshold that tells the images of --dev apart best; of one class an image, the most likely is said."
    ),
    ALL: (
        "Where the network does not say that the class is there, its mask is empty; where it says so though nothing is "
        "annotated, its mask is wrong. Both count as an intersection over union of 0. The hit rate is over all images "
        "that show the class, whatever the network says."
    ),
}


def verdict_note(missed: float) -> str:
    """What the table is about.

    Args:
        missed: Share of the annotated films that the classifier calls clean.
    """
    return (
        f"The classifier misses the object on {100 * missed:.1f} % of the annotated films; there a map explains the "
        "verdict “clean”, and a method that points at the object all the same does so whatever the class. The last "
        "column is the share of the method's misses that lie on these films."
    )


def verdict_cells(table: pd.DataFrame, protocol: str, order: Sequence[str]) -> list[list[str]]:
    """The table of one protocol as text, a header first.

    Args:
        table: As of :func:`benchmarks.analysis.by_verdict.by_verdict`.
        protocol: Which.
        order: The methods, the best first.
    """
    by_key = table[table["protocol"] == protocol].set_index(["verdict", "method", "tolerance"])
    words = {FOUND: "it says object", MISSED: "it misses it"}
    films = {verdict: int(by_key.loc[(verdict, order[0], MAIN_TOLERANCE)].films) for verdict in words}
    head = [f"{text} ({films[verdict]} films), {within(t)}" for verdict, text in words.items() for t in SHOWN]
    rows = [["method", *head, f"misses that are the classifier's, {within(MAIN_TOLERANCE)}, %"]]
    for method in order:
        found = [by_key.loc[(verdict, method, t)] for verdict in words for t in SHOWN]
        share = by_key.loc[(MISSED, method, MAIN_TOLERANCE)].share_of_misses
        rows.append([method, *map(_accuracy, found), "none" if np.isnan(share) else f"{100 * share:.0f}"])
    return rows


def verdict_data(table: pd.DataFrame) -> list[dict[str, Any]]:
    """For the page: by protocol and tolerance, for each method its ``found`` and ``missed`` films and ``share``."""
    result = []
    for (protocol, tolerance), rows in table.groupby(["protocol", "tolerance"], sort=False):
        values: dict[str, Any] = {}
        for row in rows.itertuples():
            cell = [_number(value) for value in (row.accuracy, row.ci_low, row.ci_high)]
            entry = values.setdefault(str(row.method), {})
            entry["missed" if row.verdict == MISSED else "found"] = cell
            if row.verdict == MISSED:
                entry["share"] = _number(row.share_of_misses)
        films = rows.drop_duplicates("verdict").set_index("verdict")["films"]
        counts = {"found": int(films[FOUND]), "missed": int(films[MISSED])}
        result.append({"protocol": protocol, "tolerance": int(str(tolerance)), "films": counts, "values": values})
    return result


def localisation_data(table: pd.DataFrame) -> list[dict[str, Any]]:
    """For the page: a table for each measure on true positives and on all, with the mean and each class by method.

    Args:
        table: As of :func:`benchmarks.analysis.true_positives.localisation_table`.
    """
    result = []
    for (name, which), rows in table.groupby(["measure", "rows"], sort=False):
        heads = rows.drop_duplicates("class").set_index("class")
        cells = {(of.method, of.on): of for of in rows.rename(columns={"class": "on"}).itertuples()}
        measure = measure_of(str(name))
        result.append(
            {
                "title": str(which).capitalize(),
                "note": f"{measure.sentence} {NOTES[str(which)]} localisation.csv has all numbers.",
                "measure": measure.label,
                "factor": measure.factor,
                "digits": measure.digits,
                "variants": list(heads.index),
                "below": [_about(*counts) for counts in zip(heads["questions"], heads["false_positives"], strict=True)],
                "values": {
                    str(method): [_localised(cells[method, of]) for of in heads.index]
                    for method in dict.fromkeys(rows["method"])
                },
            }
        )
    return result


def localisation_lines(table: pd.DataFrame) -> list[str]:
    """For Markdown: the means by method."""
    means = table[table["class"] == MEAN]
    names = list(dict.fromkeys(zip(means["measure"], means["rows"], strict=True)))
    cells = means.set_index(["method", "measure", "rows"])[["value", "ci_low", "ci_high"]]
    measures = {name: measure_of(name) for name, _ in names}
    rows = [["method", *(f"{measures[name].label}, {which}" for name, which in names)]]
    for method in dict.fromkeys(means["method"]):
        found = [(measures[name], cells.loc[(method, name, which)].tolist()) for name, which in names]
        texts = [
            "" if pd.isna(cell[0]) else with_interval(cell, measure.digits, measure.factor) for measure, cell in found
        ]
        rows.append([str(method), *texts])
    lines = ["# On true positives and on all", ""]
    lines += [f"- {which}: {note[0].lower()}{note[1:]}" for which, note in NOTES.items()]
    return [*lines, "", *markdown_table(rows), ""]


def _about(questions: int, false_positives: int) -> str:
    beside = f" and {counted(false_positives, 'false positive')}" if false_positives else ""
    return f"{counted(questions, 'question')}{beside}"


def _localised(row: Any) -> list[float | int | None]:
    numbers = [None if pd.isna(value) else round(float(value), 5) for value in (row.value, row.ci_low, row.ci_high)]
    return [*numbers, int(row.questions)]


def _accuracy(row: pd.Series) -> str:
    return "no film" if np.isnan(row.accuracy) else with_interval((row.accuracy, row.ci_low, row.ci_high), 1, 100)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
