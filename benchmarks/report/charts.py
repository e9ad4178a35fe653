"""Figures of the report for papers, each as PNG and SVG: protocol fair, main tolerance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.analysis.tallies import main_rows
from benchmarks.methods import METHODS
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.report.step_tables import fraction, sensitivities
from benchmarks.run.files import write_figure_files
from benchmarks.run.text_tables import counted

COLOURS = {
    "normgrad": "#6b3fc4",
    "cam": "#0b72b9",
    "gradient": "#c25a00",
    "perturbation": "#0c8062",
    "baseline": "#737a86",
}
OTHER = "#a8327d"
MOST = 50
"""Most methods in a figure, the best ones; the tables hold all."""
CURVES = 8
DASHES = ("-", "--", ":", "-.")
CAPTION = f"protocol {MAIN_PROTOCOL}, hit within {MAIN_TOLERANCE} px"


def draw_ranking(rows: pd.DataFrame, chance: dict[str, float], stem: Path) -> None:
    """Accuracy with its interval, the best method on top; filled points do not differ from the best.

    Args:
        rows: Of ``summary.csv`` with ``differs`` and ``best``.
        chance: Chance level by tolerance, as in ``summary.json``.
        stem: Path of the figure without its suffix.
    """
    count = rows["method"].nunique()
    rows = _best(main_rows(rows))[::-1]
    titles = [_title(str(name)) for name in rows["method"]]
    figure = Figure(figsize=(4.2 + 0.09 * max(map(len, titles)), 1.1 + 0.28 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for y, row in enumerate(rows.itertuples()):
        colour = _colour(str(row.method))
        axis.plot([100 * row.ci_low, 100 * row.ci_high], [y, y], color=colour, lw=2.2, solid_capstyle="round")
        face = "white" if row.differs else colour
        axis.plot(100 * row.accuracy, y, "o", color=colour, markerfacecolor=face, markersize=6.5, mew=1.6)
    axis.axvline(100 * chance[str(MAIN_TOLERANCE)], color="#737a86", ls="--", lw=1, zorder=0)
    note = f"; the {MOST} best of {count}" if count > MOST else ""
    figure.supxlabel(
        f"accuracy, % ({CAPTION})\ndashed: chance; filled: no real difference from the best is shown{note}", fontsize=9
    )
    axis.set(xlim=(0, 100), ylim=(-0.6, len(rows) - 0.4))
    axis.set_yticks(range(len(rows)), titles)
    axis.grid(axis="x", color="#d9dce2", lw=0.6)
    write_figure_files(stem, figure)


def draw_cost(rows: pd.DataFrame, stem: Path, unit: str = "film") -> None:
    """Seconds a film against accuracy, the methods numbered by accuracy; those without a network pass are left out."""
    rows = main_rows(rows)
    rows = rows[[METHODS[name].cost != "none" for name in rows["method"]]]
    rows = _best(rows)
    figure = Figure(figsize=(9, max(4.5, 0.8 + 0.18 * len(rows))), layout="constrained")
    axis = figure.subplots()
    for number, row in enumerate(rows.itertuples(), start=1):
        # Numbers, as names would cover each other.
        place = (max(float(row.seconds_per_image), 1e-4), 100 * float(row.accuracy))
        label = f"{number}  {_title(str(row.method))}"
        axis.plot(*place, "o", color=_colour(str(row.method)), markersize=11, mec="white", mew=0.8, label=label)
        axis.annotate(str(number), place, ha="center", va="center", fontsize=6.5, color="white", weight="bold")
    axis.set(xscale="log", xlabel=f"seconds a {unit}", ylabel=f"accuracy, % ({CAPTION})", ylim=(0, 100))
    axis.margins(x=0.08)
    axis.grid(color="#d9dce2", lw=0.6)
    if len(rows):
        figure.legend(loc="outside right upper", fontsize=7, frameon=False, markerscale=0.6, handletextpad=0.2)
    write_figure_files(stem, figure)


def draw_breakdowns(table: pd.DataFrame, folder: Path, unit: str = "film") -> None:
    """Accuracy of every method in every group of films, a table in colours for each breakdown: ``breakdown_size`` ...

    Figures of breakdowns that an earlier report had and this one has not are removed.
    """
    table = main_rows(table)
    for old in folder.glob("breakdown*.*"):
        if old.suffix in (".png", ".svg"):
            old.unlink()
    for name, rows in table.groupby("breakdown", sort=False):
        _draw_groups(rows, folder / f"breakdown_{name}", unit)


def _draw_groups(table: pd.DataFrame, stem: Path, unit: str) -> None:
    heads = table.drop_duplicates("group")
    heads = heads.loc[heads["films"].nlargest(MOST).sort_index().index]  # a set may have a thousand classes
    wide = table.pivot(index="method", columns="group", values="accuracy")[list(heads["group"])]
    wide = wide.loc[wide.mean(axis=1).sort_values(ascending=False, kind="stable").index[:MOST]]
    values = np.vstack([wide.to_numpy(), heads["chance"].to_numpy()])
    titles = [*map(_title, map(str, wide.index)), "(chance)"]
    wide_enough = 0.075 * max(map(len, titles)) + 0.72 * len(heads) + 0.4
    figure = Figure(figsize=(max(wide_enough, 5.5), 1.9 + 0.27 * len(values)), layout="constrained")
    axis = figure.subplots()
    axis.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        axis.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color="w" if value > 0.6 else "k")
    names = [f"{group}\n{counted(films, unit)}" for group, films in zip(heads["group"], heads["films"], strict=True)]
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8, parse_math=False)
    axis.set_yticks(range(len(values)), titles, fontsize=8)
    figure.suptitle(f"accuracy, % ({CAPTION})", fontsize=9)
    write_figure_files(stem, figure)


def draw_froc(table: pd.DataFrame, stem: Path) -> None:
    """Sensitivity against false positives a film: the best methods in colour, the others grey.

    Args:
        table: ``froc.csv``.
        stem: Path of the figure without its suffix.
    """
    wide = sensitivities(table)
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axis = figure.subplots()
    for place, (method, values) in reversed(list(enumerate(wide.iterrows()))):
        style: dict[str, Any] = {"color": "#c3c7cf", "lw": 0.7}
        if place < CURVES:
            label = f"{_title(str(method))} ({100 * values.mean():.1f})"
            style = {"color": _colour(str(method)), "lw": 1.8, "ls": DASHES[place % len(DASHES)], "label": label}
        axis.plot(wide.columns, 100 * values, **style)
    axis.set(xscale="log", xlabel="false positives a film", ylabel="objects found, %", ylim=(0, 100))
    axis.set_xticks(wide.columns, [fraction(rate) for rate in wide.columns])
    axis.set_xticks([], minor=True)
    axis.grid(color="#d9dce2", lw=0.6)
    handles, labels = axis.get_legend_handles_labels()
    title = f"mean over the rates, %; best {len(labels)} of {len(wide)}"
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", fontsize=8, frameon=False, title=title)
    write_figure_files(stem, figure)


def _best(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("accuracy", ascending=False, kind="stable")[:MOST]


def _colour(method: str) -> str:
    return COLOURS.get(METHODS[method].family, OTHER) if method in METHODS else OTHER


def _title(method: str) -> str:
    return " ".join(METHODS[method].title.split()) if method in METHODS else method
