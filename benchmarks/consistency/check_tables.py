"""Consistency as CSV, Markdown and a figure, and a summary in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.analysis.measure_table import measure_of
from benchmarks.consistency.follows import follows_section
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.files import write_csv, write_figure_files, write_text
from benchmarks.run.text_tables import markdown_table, terminal_table, with_interval, within

Row = tuple[str, str, str, str, float, float, float, int]
"""One line of ``consistency.csv``, in the order of :data:`COLUMNS`."""
COLUMNS = ("check", "variant", "method", "measure", "value", "ci_low", "ci_high", "films")

CHECKS = {
    "smoothing": (
        "Smoothed or not",
        "The same maps as they are and after a Gaussian (sigma 1 px, window 11 px) in the frame.",
    ),
    "randomised": (
        "Weights drawn anew",
        "A map that stays the same when the network forgets what it learnt does not show what it learnt: the "
        "correlation should fall to 0 and the accuracy to chance. The class explained stays the one that the trained "
        "network predicts.",
    ),
    "seed": (
        "Other training seeds",
        "Means over seeds; the interval resamples films and seeds. Moved: between the maxima of two seeds, on films of "
        "which both predict the same class.",
    ),
    "architecture": (
        "Other architectures",
        "Differences of the mean accuracies (Difference of Means), paired on the same films; the interval resamples "
        "films, and seeds where there are several.",
    ),
}


def write_consistency(folder: Path, rows: Sequence[Row], failures: Mapping[str, str]) -> None:
    """Write ``consistency.csv``, ``.md``, ``.png`` and ``.svg``, and print what they say.

    Args:
        folder: The run directory.
        rows: Of all checks.
        failures: Why methods could not run, by name.
    """
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_csv(folder / "consistency.csv", table)
    write_text(folder / "consistency.md", markdown(table, failures))
    if len(table):
        draw_consistency(table, folder / "consistency")
    console = Console()
    # 80 columns have no room for everything.
    accuracy = (table["measure"] == "accuracy") & (table["variant"] != "head only")
    wide = (table["check"] == "randomised") & ~accuracy & (table["measure"] != "rank_correlation")
    wide |= (table["check"] == "seed") & table["variant"].str.contains(" seed ")
    wide |= (table["check"] == "architecture") & (table["measure"] == "moved_px")
    for name, (title, _) in CHECKS.items():
        for cell_rows in cells(table[~wide], name, intervals=False)[:1]:
            console.print(terminal_table(title, cell_rows))
    for name, reason in failures.items():
        console.print(f"{name} could not run: {reason}", markup=False)
    console.print(f"{folder / 'consistency.csv'} holds all of this, with intervals.", markup=False, soft_wrap=True)


def cells(table: pd.DataFrame, check: str, *, intervals: bool = True) -> list[list[list[str]]]:
    """The tables of one check as text, a header first in each; no table where there are no rows.

    The check ``randomised`` has a second table: the correlation along the cascade.
    """
    rows = table[table["check"] == check]
    if rows.empty:
        return []
    keys = list(dict.fromkeys(zip(rows["variant"], rows["measure"], strict=True)))
    ends = [key for key in keys if not key[0].startswith("cascade")]
    steps = [key for key in keys if key[1] == "rank_correlation"]
    result = [_table(rows, ends, intervals=intervals)]
    if len(steps) > 2:
        result.append(_table(rows, steps, intervals=False))
    return result


def _table(rows: pd.DataFrame, keys: Sequence[tuple[str, str]], *, intervals: bool) -> list[list[str]]:
    by_key = rows.set_index(["method", "variant", "measure"])
    result = [["method", *(f"{variant}: {measure_of(measure).label}" for variant, measure in keys)]]
    for method in dict.fromkeys(rows["method"]):
        places = [(method, variant, measure) for variant, measure in keys]
        texts = [
            _text(by_key.loc[place], place[2], intervals=intervals) if place in by_key.index else "" for place in places
        ]
        if any(texts):  # chance has no correlation along the cascade
            result.append([method, *texts])
    return result


def _text(row: pd.Series, measure: str, *, intervals: bool) -> str:
    if np.isnan(row["value"]):
        return "undefined"
    of, names = measure_of(measure), ("value", "ci_low", "ci_high") if intervals else ("value",)
    return with_interval(
        tuple(row[name] for name in names), of.digits, of.factor, sign=measure == "accuracy_difference"
    )


def markdown(table: pd.DataFrame, failures: Mapping[str, str]) -> str:
    """All checks as Markdown."""
    lines = ["# Consistency", ""]
    lines += [
        f"Pointing Game accuracy by protocol `{MAIN_PROTOCOL}` {within(MAIN_TOLERANCE)}, Spearman's correlation of the "
        "maps (signs kept), and the median distance that the maximum moved, in pixels of the frame of 600; [95 % "
        "interval], over films and, where the run has several, seeds.",
        "",
    ]
    if section := follows_section(table):
        lines += ["## Weights or picture?", "", *section]
    for name, (title, explanation) in CHECKS.items():
        rows = table[table["check"] == name]
        if rows.empty:
            continue
        films = sorted(set(rows.loc[rows["measure"] == "accuracy", "films"]))
        lines += [f"## {title}", "", f"{explanation} {' to '.join(map(str, films))} films.", ""]
        for cell_rows in cells(table, name):
            lines += [*markdown_table(cell_rows), ""]
    if failures:
        lines += ["## What could not run", ""]
        lines += [f"- {name}: {reason}" for name, reason in failures.items()]
        lines.append("")
    return "\n".join(lines)


def draw_consistency(table: pd.DataFrame, stem: Path) -> None:
    """Tables in colours, as PNG and SVG: the cascade's correlations and accuracies, and the accuracies of runs.

    Args:
        table: With the columns :data:`COLUMNS`.
        stem: Path of the figure without its suffix.
    """
    own, runs = table[table["check"] == "randomised"], table[table["check"].isin(["seed", "architecture"])]
    panels = [
        (
            own[own["measure"] == "rank_correlation"],
            "RdBu",
            -1.0,
            "rank correlation with the trained network's map",
        ),
        (
            own[own["measure"] == "accuracy"],
            "Blues",
            0.0,
            "accuracy, weights drawn anew from the head down",
        ),
        (runs[runs["measure"] == "accuracy"], "Blues", 0.0, "accuracy of runs and architectures"),
    ]
    panels = [panel for panel in panels if len(panel[0])]
    columns = max(rows["variant"].nunique() for rows, *_ in panels)
    height = 1.7 + 0.24 * max(rows["method"].nunique() for rows, *_ in panels)
    figure = Figure(figsize=(3.2 + 0.42 * columns, height * len(panels)), layout="constrained")
    for axis, (rows, colours, low, title) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True
    ):
        _draw(axis, rows, colours, low)
        axis.set_title(title, fontsize=9, loc="left")
    write_figure_files(stem, figure)


def _draw(axis: Axes, rows: pd.DataFrame, colours: str, low: float) -> None:
    methods, variants = (list(dict.fromkeys(rows[column])) for column in ("method", "variant"))
    rows = rows.drop_duplicates(["method", "variant"])  # an architecture may stand under both checks
    values = rows.pivot(index="method", columns="variant", values="value").reindex(index=methods, columns=variants)
    axis.imshow(values.to_numpy(), cmap=colours, vmin=low, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values.to_numpy()):
        if np.isfinite(value):
            dark = value > 0.65 or value < -0.65
            axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color="w" if dark else "k")
    axis.set_xticks(range(len(variants)), [v.removeprefix("cascade ") for v in variants], rotation=50, ha="right")
    axis.set_yticks(range(len(methods)), methods)
    axis.tick_params(labelsize=7)
