"""Accuracies by the classifier's verdict, in the forms in which reports show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis.by_verdict import FOUND, MISSED
from benchmarks.metrics.pointing_game import MAIN_TOLERANCE, TOLERANCES
from benchmarks.run.text_tables import with_interval, within

SHOWN = (TOLERANCES[0], MAIN_TOLERANCE)


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


def _accuracy(row: pd.Series) -> str:
    return "no film" if np.isnan(row.accuracy) else with_interval((row.accuracy, row.ci_low, row.ci_high), 1, 100)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
