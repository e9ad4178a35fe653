"""Tables that other steps leave in the run directory, in the form in which the page shows them.

They are :data:`TABLES`. A table that is not there leaves out its part of the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.analysis.measure_table import FROC_COLUMNS, MEASURES, TABLE_COLUMNS, measure_of
from benchmarks.consistency.check import remake_consistency
from benchmarks.consistency.check_tables import CHECKS
from benchmarks.consistency.check_tables import COLUMNS as CONSISTENCY_COLUMNS
from benchmarks.report.subject import Subject
from benchmarks.report.verdict_tables import localisation_lines
from benchmarks.run import stored
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.run.stored import DamagedError
from benchmarks.run.text_tables import counted, markdown_table, with_interval, within
from benchmarks.scoring.measure import remake_tables


class StepTable(NamedTuple):
    """What is known of a table.

    Attributes:
        columns: Its columns.
        keys: How many of them, from the first on, tell its rows apart.
        source: The file that it is made of.
        remake: Makes it again of that.
    """

    columns: tuple[str, ...]
    keys: int
    source: str
    remake: Callable[[Config], None]


TABLES = {
    "measures.csv": StepTable(TABLE_COLUMNS, 2, "measures.sqlite", remake_tables),
    "froc.csv": StepTable(FROC_COLUMNS, 2, "measures.sqlite", remake_tables),
    "consistency.csv": StepTable(CONSISTENCY_COLUMNS, 4, "consistency.json", remake_consistency),
}


def mend_tables(config: Config) -> None:
    """Make tables again that are damaged, or gone while what they are made of is there; lines say so."""
    faults: dict[Callable[[Config], None], list[str]] = {}
    for name, table in TABLES.items():
        path = config.out / name
        try:
            read_table(config.out, name)
        except DamagedError as error:
            faults.setdefault(table.remake, []).append(str(error))
        else:
            if not path.exists() and (config.out / table.source).exists():
                faults.setdefault(table.remake, []).append(f"{path} is gone: it is made again from {table.source}.")
    for remake, lines in faults.items():
        print(*lines, sep="\n")
        try:
            remake(config)
        except UserError as error:
            print(f"The report does without it. {error}")


def read_table(folder: Path, name: str) -> pd.DataFrame | None:
    """Read a table of the run directory.

    Args:
        folder: The run directory.
        name: One of :data:`TABLES`.

    Returns:
        The table; None where there is none, or where it has no rows.

    Raises:
        DamagedError: It is not what it should be.
    """
    path = folder / name
    if not path.is_file():
        return None
    columns, keys, source, _ = TABLES[name]
    table = stored.read_table(path, columns, columns[:keys], f"it is made again from {source}")
    return table if len(table) else None


def measures_data(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Measures in the order of :data:`MEASURES`, with ``[value, ci_low, ci_high, films]`` by method."""
    if table is None:
        return []
    order = _known_first(table["measure"], MEASURES)
    result = []
    for name in order:
        rows = table[table["measure"] == name]
        measure = measure_of(name)
        result.append(
            {
                "name": name,
                "title": f"{measure.title[0].upper()}{measure.title[1:]}",
                "note": measure.sentence,
                "better": rows["better"].iloc[0],
                "values": {str(row.method): _cell(row) for row in rows.itertuples()},
            }
        )
    return result


def sensitivities(table: pd.DataFrame) -> pd.DataFrame:
    """Sensitivities, the best method on the mean first.

    Args:
        table: ``froc.csv``.

    Returns:
        Index method, one column for each number of false positives a film, in rising order.
    """
    wide = table.pivot(index="method", columns="false_positives_per_image", values="sensitivity")
    return wide.loc[wide.mean(axis=1).sort_values(ascending=False, kind="stable").index]


def fraction(rate: float) -> str:
    """A number of false positives as the challenge writes it: 1/8, 1/4 and so on, or a plain number."""
    return f"1/{1 / rate:g}" if 0 < rate < 1 and (1 / rate).is_integer() else f"{rate:g}"


def froc_data(table: pd.DataFrame | None) -> dict[str, Any] | None:
    """``rates`` with their ``labels``, and the sensitivities at each by method."""
    if table is None:
        return None
    wide = sensitivities(table)
    return {
        "rates": [float(rate) for rate in wide.columns],
        "labels": [fraction(float(rate)) for rate in wide.columns],
        "values": {str(method): [_number(value) for value in row] for method, row in wide.iterrows()},
    }


def consistency_data(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """One table for each check and measure: ``variants``, and for each method one cell a variant or None."""
    if table is None:
        return []
    result = []
    for check in _known_first(table["check"], CHECKS):
        title, note = CHECKS.get(check, (str(check), ""))
        for measure, rows in table[table["check"] == check].groupby("measure", sort=False):
            variants = [str(variant) for variant in rows["variant"].unique()]
            cells = {(str(row.method), str(row.variant)): _cell(row) for row in rows.itertuples()}
            methods = [str(method) for method in rows["method"].unique()]
            of = measure_of(str(measure))
            result.append(
                {
                    "title": title,
                    "note": note,
                    "measure": of.label,
                    "factor": of.factor,
                    "digits": of.digits,
                    "variants": variants,
                    "values": {method: [cells.get((method, variant)) for variant in variants] for method in methods},
                }
            )
    return result


def _known_first(names: pd.Series, known: Iterable[str]) -> list[str]:
    """The different names, those that are known in their order, the others behind them."""
    there = list(names.unique())
    return [*(name for name in known if name in there), *(name for name in there if name not in set(known))]


def _cell(row: Any) -> list[float | None]:
    return [*(_number(getattr(row, name)) for name in ("value", "ci_low", "ci_high")), _number(row.films)]


def _number(value: Any) -> float | None:
    """A number as JSON knows it, of five digits."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def markdown(
    tests: pd.DataFrame,
    breakdown: pd.DataFrame,
    subject: Subject,
    measures: pd.DataFrame | None = None,
    froc: pd.DataFrame | None = None,
) -> str:
    """Tests against the best, further measures, sensitivities, and accuracies by groups of films.

    Args:
        tests: As of :func:`benchmarks.analysis.significance.significance_table`.
        breakdown: As of :func:`benchmarks.analysis.breakdown.break_down`.
        subject: What they are about.
        measures: ``measures.csv``, if there is one.
        froc: ``froc.csv``, if there is one.
    """
    lines = _differences(tests, subject.unit)
    if measures is not None:
        lines += _measures(measures, subject.unit)
    if subject.localisation is not None:
        lines += localisation_lines(subject.localisation)
    if froc is not None:
        lines += _sensitivities(froc)
    return "\n".join(lines + _groups(breakdown, subject))


def _differences(tests: pd.DataFrame, unit: str) -> list[str]:
    lines = ["# Which differences are real", ""]
    together = "" if unit == "film" else f", where the {unit}s of an image change sides together"
    lines += [f"McNemar's exact test against the best method on the same {unit}s{together}; Holm's correction.", ""]
    for (protocol, tolerance), group in tests.groupby(["protocol", "tolerance"]):
        lines += [f"## Protocol `{protocol}`, {within(int(tolerance))}", ""]
        rows = [["method", "accuracy, %", "only the best hits", "only it hits", "p (Holm)", "differs", "ranks"]]
        for row in group.itertuples():
            verdict = "best" if row.method == row.best else "yes" if row.differs else "not shown"
            figures = [f"{100 * row.accuracy:.1f}", f"{row.only_best}", f"{row.only_method}", f"{row.p_holm:.3g}"]
            rows.append([row.method, *figures, verdict, f"{row.rank_low:.0f} to {row.rank_high:.0f}"])
        lines += [*markdown_table(rows, left=(0, 5)), ""]
    return lines


def _measures(table: pd.DataFrame, unit: str) -> list[str]:
    names = _known_first(table["measure"], MEASURES)
    better = table.drop_duplicates("measure").set_index("measure")["better"]
    lines = ["# Other measures", "", f"Mean over {unit}s with its 95 % interval.", ""]
    lines += [f"- `{name}`: {measure_of(name).words}" for name in names if name in MEASURES]
    rows = [["method", *(f"{name} ({better[name]} is better)" for name in names)]]
    cells = {(row.method, row.measure): row for row in table.itertuples()}
    for method in table["method"].unique():
        texts = []
        for name in names:
            row = cells.get((method, name))
            if row is None or pd.isna(row.value):
                texts.append("")
            else:
                texts.append(with_interval((row.value, row.ci_low, row.ci_high), measure_of(name).digits))
        rows.append([method, *texts])
    return [*lines, "", *markdown_table(rows), ""]


def _sensitivities(froc: pd.DataFrame) -> list[str]:
    table = sensitivities(froc)
    lines = ["# Sensitivity at false positives a film", "", "Peaks of the maps as marks of a detector; percent.", ""]
    rows = [["method", *map(fraction, table.columns), "mean"]]
    rows += [[str(method), *_percent([*row, row.mean()])] for method, row in table.iterrows()]
    return [*lines, *markdown_table(rows), ""]


def _groups(breakdown: pd.DataFrame, subject: Subject) -> list[str]:
    lines = [f"# Accuracy by groups of {subject.unit}s", ""]
    for (name, protocol, tolerance), rows in breakdown.groupby(["breakdown", "protocol", "tolerance"], sort=False):
        wide = rows.pivot(index="method", columns="group", values="accuracy")
        groups = rows.drop_duplicates("group").set_index("group")
        wide = wide[list(groups.index)]
        lines += [f"## By {name}, protocol `{protocol}`, {within(int(tolerance))}", ""]
        words = subject.breakdowns[str(name)]
        lines += [f"{words[0].upper()}{words[1:]}; percent.", ""]
        heads = (f"{group} ({counted(films, subject.unit)})" for group, films in groups["films"].items())
        table = [["method", *heads]]
        table += [[str(method), *_percent(values)] for method, values in wide.iterrows()]
        lines += [*markdown_table([*table, ["(chance)", *_percent(groups["chance"])]]), ""]
    return lines


def _percent(shares: Iterable[float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]
