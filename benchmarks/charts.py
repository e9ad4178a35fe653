"""Figures of the report for papers, each as PNG and SVG: protocol fair, main tolerance."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.methods import METHODS

PROTOCOL, TOLERANCE = "fair", 15
COLOURS = {"normgrad": "#6b3fc4", "cam": "#0b72b9", "gradient": "#c25a00", "baseline": "#737a86"}
OTHER = "#0c8062"
CAPTION = f"protocol {PROTOCOL}, hit within {TOLERANCE} px"


def draw_ranking(rows: pd.DataFrame, chance: dict[str, float], stem: Path) -> None:
    """Accuracy with its interval, the best method on top; filled points do not differ from the best.

    Args:
        rows: Of ``summary.csv`` with ``differs`` and ``best``.
        chance: Chance level by tolerance, as in ``summary.json``.
        stem: Path of the figure without its suffix.
    """
    rows = _main(rows).sort_values("accuracy", kind="stable")
    figure = Figure(figsize=(7, 1.1 + 0.28 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for y, row in enumerate(rows.itertuples()):
        colour = _colour(str(row.method))
        axis.plot([100 * row.ci_low, 100 * row.ci_high], [y, y], color=colour, lw=2.2, solid_capstyle="round")
        face = "white" if row.differs else colour
        axis.plot(100 * row.accuracy, y, "o", color=colour, markerfacecolor=face, markersize=6.5, mew=1.6)
    axis.axvline(100 * chance[str(TOLERANCE)], color="#737a86", ls="--", lw=1, zorder=0)
    axis.set(xlabel=f"accuracy, % ({CAPTION})\ndashed: chance; filled: no real difference from the best is shown")
    axis.set(xlim=(0, 100), ylim=(-0.6, len(rows) - 0.4))
    axis.set_yticks(range(len(rows)), [_title(str(name)) for name in rows["method"]])
    axis.grid(axis="x", color="#d9dce2", lw=0.6)
    _save(figure, stem)


def draw_cost(rows: pd.DataFrame, stem: Path) -> None:
    """Seconds a film against accuracy, the methods numbered by accuracy; those without a network pass are left out."""
    rows = _main(rows)
    rows = rows[[METHODS[name].cost != "none" for name in rows["method"]]]
    rows = rows.sort_values("accuracy", ascending=False, kind="stable")
    figure = Figure(figsize=(9, max(4.5, 0.8 + 0.18 * len(rows))), layout="constrained")
    axis = figure.subplots()
    for number, row in enumerate(rows.itertuples(), start=1):
        # Numbers, as names would cover each other.
        place = (max(float(row.seconds_per_image), 1e-4), 100 * float(row.accuracy))
        label = f"{number}  {_title(str(row.method))}"
        axis.plot(*place, "o", color=_colour(str(row.method)), markersize=11, mec="white", mew=0.8, label=label)
        axis.annotate(str(number), place, ha="center", va="center", fontsize=6.5, color="white", weight="bold")
    axis.set(xscale="log", xlabel="seconds a film", ylabel=f"accuracy, % ({CAPTION})", ylim=(0, 100))
    axis.margins(x=0.08)
    axis.grid(color="#d9dce2", lw=0.6)
    if len(rows):
        figure.legend(loc="outside right upper", fontsize=7, frameon=False, markerscale=0.6, handletextpad=0.2)
    _save(figure, stem)


def draw_breakdown(table: pd.DataFrame, stem: Path) -> None:
    """Accuracy of every method in every group of films, as a table in colours; no figure when there are no groups."""
    table = _main(table)
    if table.empty:
        for suffix in (".png", ".svg"):  # of an earlier report
            stem.with_suffix(suffix).unlink(missing_ok=True)
        return
    keys = list(dict.fromkeys(zip(table["breakdown"], table["group"], strict=True)))
    wide = table.pivot(index="method", columns=["breakdown", "group"], values="accuracy")[keys]
    wide = wide.loc[wide.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    heads = table.drop_duplicates(["breakdown", "group"])
    values = np.vstack([wide.to_numpy(), heads["chance"].to_numpy()])
    figure = Figure(figsize=(3 + 0.75 * len(keys), 2 + 0.27 * len(values)), layout="constrained")
    axis = figure.subplots()
    axis.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        axis.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color="w" if value > 0.6 else "k")
    for x in range(1, len(keys)):
        if keys[x][0] != keys[x - 1][0]:
            axis.axvline(x - 0.5, color="white", lw=4)
    names = [f"{group}\n{films} films" for group, films in zip(heads["group"], heads["films"], strict=True)]
    axis.set_xticks(range(len(keys)), names, rotation=40, ha="right", fontsize=8)
    axis.set_yticks(range(len(values)), [*map(_title, map(str, wide.index)), "(chance)"], fontsize=8)
    axis.set_title(f"accuracy, % ({CAPTION})", fontsize=9)
    _save(figure, stem)


def _main(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["protocol"] == PROTOCOL) & (rows["tolerance"] == TOLERANCE)]


def _colour(method: str) -> str:
    return COLOURS.get(METHODS[method].family, OTHER)


def _title(method: str) -> str:
    return " ".join(METHODS[method].title.split())


def _save(figure: Figure, stem: Path) -> None:
    figure.savefig(stem.with_suffix(".png"), dpi=150)
    # The same numbers give the same bytes: no date, no random ids.
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
