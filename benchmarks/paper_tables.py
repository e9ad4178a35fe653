"""The tables of the page as Markdown, for papers."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from benchmarks.breakdown import BREAKDOWNS
from benchmarks.further_tables import MEASURES, fraction, sensitivities
from benchmarks.tables import markdown_table, within


def markdown(
    tests: pd.DataFrame, breakdown: pd.DataFrame, measures: pd.DataFrame | None = None, froc: pd.DataFrame | None = None
) -> str:
    """Tests against the best, further measures, sensitivities, and accuracies by groups of films.

    Args:
        tests: As of :func:`benchmarks.significance.significance_table`.
        breakdown: As of :func:`benchmarks.breakdown.break_down`.
        measures: ``measures.csv``, if there is one.
        froc: ``froc.csv``, if there is one.
    """
    lines = _differences(tests)
    if measures is not None:
        lines += _measures(measures)
    if froc is not None:
        lines += _sensitivities(froc)
    return "\n".join(lines + _groups(breakdown))


def _differences(tests: pd.DataFrame) -> list[str]:
    lines = ["# Which differences are real", ""]
    lines += ["McNemar's exact test against the best method on the same films, Holm's correction.", ""]
    for (protocol, tolerance), group in tests.groupby(["protocol", "tolerance"]):
        lines += [f"## Protocol `{protocol}`, {within(int(tolerance))}", ""]
        rows = [["method", "accuracy, %", "only the best hits", "only it hits", "p (Holm)", "differs", "ranks"]]
        for row in group.itertuples():
            verdict = "best" if row.method == row.best else "yes" if row.differs else "not shown"
            figures = [f"{100 * row.accuracy:.1f}", f"{row.only_best}", f"{row.only_method}", f"{row.p_holm:.3g}"]
            rows.append([row.method, *figures, verdict, f"{row.rank_low:.0f} to {row.rank_high:.0f}"])
        lines += [*markdown_table(rows, left=(0, 5)), ""]
    return lines


def _measures(table: pd.DataFrame) -> list[str]:
    names = [name for name in MEASURES if name in set(table["measure"])]
    names += [name for name in table["measure"].unique() if name not in MEASURES]
    better = table.drop_duplicates("measure").set_index("measure")["better"]
    lines = ["# Other measures", "", "Mean over films with its 95 % interval.", ""]
    lines += [f"- `{name}`: {MEASURES[name][1]}" for name in names if name in MEASURES]
    rows = [["method", *(f"{name} ({better[name]} is better)" for name in names)]]
    cells = {(row.method, row.measure): row for row in table.itertuples()}
    for method in table["method"].unique():
        texts = []
        for name in names:
            row = cells.get((method, name))
            if row is None or pd.isna(row.value):
                texts.append("")
            else:
                texts.append(f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]")
        rows.append([method, *texts])
    return [*lines, "", *markdown_table(rows), ""]


def _sensitivities(froc: pd.DataFrame) -> list[str]:
    table = sensitivities(froc)
    lines = ["# Sensitivity at false positives a film", "", "Peaks of the maps as marks of a detector; percent.", ""]
    rows = [["method", *map(fraction, table.columns), "mean"]]
    rows += [[str(method), *_percent([*row, row.mean()])] for method, row in table.iterrows()]
    return [*lines, *markdown_table(rows), ""]


def _groups(breakdown: pd.DataFrame) -> list[str]:
    lines = ["# Accuracy by groups of films", ""]
    for (name, protocol, tolerance), rows in breakdown.groupby(["breakdown", "protocol", "tolerance"], sort=False):
        wide = rows.pivot(index="method", columns="group", values="accuracy")
        groups = rows.drop_duplicates("group").set_index("group")
        wide = wide[list(groups.index)]
        lines += [f"## By {name}, protocol `{protocol}`, {within(int(tolerance))}", ""]
        lines += [f"{BREAKDOWNS[str(name)].capitalize()}; percent.", ""]
        table = [["method", *(f"{group} ({films} films)" for group, films in groups["films"].items())]]
        table += [[str(method), *_percent(values)] for method, values in wide.iterrows()]
        lines += [*markdown_table([*table, ["(chance)", *_percent(groups["chance"])]]), ""]
    return lines


def _percent(shares: Iterable[float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]
