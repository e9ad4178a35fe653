"""The tables of the page as Markdown, for papers."""

from __future__ import annotations

import pandas as pd

from benchmarks.breakdown import BREAKDOWNS
from benchmarks.further_tables import MEASURES, fraction, sensitivities


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
        lines += [f"## Protocol `{protocol}`, {_within(int(tolerance))}", ""]
        lines += ["| method | accuracy, % | only the best hits | only it hits | p (Holm) | differs | ranks |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | --- | ---: |"]
        for row in group.itertuples():
            verdict = "best" if row.method == row.best else "yes" if row.differs else "not shown"
            lines.append(
                f"| {row.method} | {100 * row.accuracy:.1f} | {row.only_best} | {row.only_method} | {row.p_holm:.3g} "
                f"| {verdict} | {row.rank_low:.0f} to {row.rank_high:.0f} |"
            )
        lines.append("")
    return lines


def _measures(table: pd.DataFrame) -> list[str]:
    names = [name for name in MEASURES if name in set(table["measure"])]
    names += [name for name in table["measure"].unique() if name not in MEASURES]
    better = table.drop_duplicates("measure").set_index("measure")["better"]
    lines = ["# Other measures", "", "Mean over films with its 95 % interval.", ""]
    lines += [f"- `{name}`: {MEASURES[name][1]}" for name in names if name in MEASURES]
    lines += ["", f"| method | {' | '.join(f'{name} ({better[name]} is better)' for name in names)} |"]
    lines.append("| --- |" + " ---: |" * len(names))
    cells = {(row.method, row.measure): row for row in table.itertuples()}
    for method in table["method"].unique():
        texts = []
        for name in names:
            row = cells.get((method, name))
            if row is None or pd.isna(row.value):
                texts.append("")
            else:
                texts.append(f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]")
        lines.append(f"| {method} | {' | '.join(texts)} |")
    return [*lines, ""]


def _sensitivities(froc: pd.DataFrame) -> list[str]:
    table = sensitivities(froc)
    lines = ["# Sensitivity at false positives a film", "", "Peaks of the maps as marks of a detector; percent.", ""]
    lines += [f"| method | {' | '.join(map(fraction, table.columns))} | mean |"]
    lines.append("| --- |" + " ---: |" * (len(table.columns) + 1))
    for method, row in table.iterrows():
        lines.append(f"| {method} | {' | '.join(f'{100 * value:.1f}' for value in [*row, row.mean()])} |")
    return [*lines, ""]


def _groups(breakdown: pd.DataFrame) -> list[str]:
    lines = ["# Accuracy by groups of films", ""]
    for (name, protocol, tolerance), rows in breakdown.groupby(["breakdown", "protocol", "tolerance"], sort=False):
        wide = rows.pivot(index="method", columns="group", values="accuracy")
        groups = rows.drop_duplicates("group").set_index("group")
        wide = wide[list(groups.index)]
        lines += [f"## By {name}, protocol `{protocol}`, {_within(int(tolerance))}", ""]
        lines += [f"{BREAKDOWNS[str(name)].capitalize()}; percent.", ""]
        lines.append(
            f"| method | {' | '.join(f'{group} ({films} films)' for group, films in groups['films'].items())} |"
        )
        lines.append("| --- |" + " ---: |" * len(groups))
        for method, values in wide.iterrows():
            lines.append(f"| {method} | {' | '.join(f'{100 * value:.1f}' for value in values)} |")
        lines += [f"| (chance) | {' | '.join(f'{100 * value:.1f}' for value in groups['chance'])} |", ""]
    return lines


def _within(tolerance: int) -> str:
    return f"within {tolerance} px" if tolerance else "inside"
