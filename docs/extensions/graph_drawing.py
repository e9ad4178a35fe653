"""A layered drawing of an import graph: who imports above, who is imported below.

However many modules there are, the drawing stays as wide as the page: a row takes what fits, and there are more rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from import_graph import Graph, levels, reduced
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

WIDTH = 6.6  # of a row of boxes, in inches
_ROW, _BOX, _GAP = 0.78, 0.27, 0.16
_SIZE = 9.5


@dataclass
class Layout:
    """Places of boxes and of the bends of long arrows, in inches.

    Attributes:
        rows: Names of boxes and bends from left to right, the lowest row first. A bend is a triple
            (from, to, row).
        x: Middle of each.
        arrows: For each arrow (from, to) the points that it passes, bends included.
    """

    rows: list[list[object]]
    x: dict[object, float] = field(default_factory=dict)
    arrows: dict[tuple[str, str], list[object]] = field(default_factory=dict)


def box_width(name: object) -> float:
    """Width of a module's box in inches; an arrow that passes needs none but the gaps beside it."""
    return 0.62 * _SIZE / 72 * len(name) + 0.14 if isinstance(name, str) else 0.0


def layout(graph: Graph) -> Layout:
    """Arrange a graph without circles: rows, order within them, places."""
    arrows = reduced(graph)
    row = _rows(graph)
    result = Layout([[] for _ in range(max(row.values()) + 1)])
    for name in graph:
        result.rows[row[name]].append(name)
    for name, others in arrows.items():
        for other in sorted(others):
            bends = [(name, other, r) for r in range(row[name] - 1, row[other], -1)]
            for bend in bends:
                result.rows[bend[2]].append(bend)
            result.arrows[name, other] = [name, *bends, other]
    _order(result)
    _place(result)
    return result


def _rows(graph: Graph) -> dict[str, int]:
    """A row for each module, above all it imports, no row wider than the page."""
    importers: Graph = {name: {n for n in graph if name in graph[n]} for name in graph}
    above = levels(importers)
    row: dict[str, int] = {}
    used: dict[int, float] = {}

    def put(name: str, candidates: Iterable[int]) -> None:
        width = box_width(name) + _GAP
        row[name] = next(r for r in candidates if used.get(r, 0.0) + width <= WIDTH + _GAP)
        used[row[name]] = used.get(row[name], 0.0) + width

    endless = 10 * len(graph)
    for name in sorted(graph, key=lambda n: (levels(graph)[n], -above[n], n)):
        least = 1 + max((row[o] for o in graph[name]), default=-1)
        put(name, range(least, endless))
    # Up again to just below the lowest importer, where that shortens arrows.
    for name in sorted(graph, key=lambda n: -row[n]):
        if importers[name] and len(importers[name]) >= len(graph[name]):
            highest = min(row[n] for n in importers[name]) - 1
            used[row[name]] -= box_width(name) + _GAP
            put(name, range(highest, row[name] - 1, -1))
    kept = sorted(set(row.values()))
    return {name: kept.index(r) for name, r in row.items()}


def _order(result: Layout) -> None:
    """Sort each row by the middle of its neighbours, down and up in turn; the fewest crossings win."""
    rows = result.rows
    links = [pair for way in result.arrows.values() for pair in pairwise(way)]
    near = _neighbours(result)
    best, fewest = [list(r) for r in rows], _crossings(rows, links)
    for sweep in range(40):
        order = range(1, len(rows)) if sweep % 2 else range(len(rows) - 2, -1, -1)
        for r in order:
            fixed = rows[r - 1] if sweep % 2 else rows[r + 1]
            place = {n: (i + 0.5) / len(fixed) for i, n in enumerate(fixed)}
            own = {n: (i + 0.5) / len(rows[r]) for i, n in enumerate(rows[r])}
            wish = {n: np.mean([place[o] for o in near.get(n, ()) if o in place] or [own[n]]) for n in rows[r]}
            rows[r].sort(key=lambda n, wish=wish: wish[n])
        crossings = _crossings(rows, links)
        if crossings < fewest:
            best, fewest = [list(r) for r in rows], crossings
    result.rows = best


def _neighbours(result: Layout) -> dict[object, list[object]]:
    """What each box and bend is linked to, one row up and one row down."""
    near: dict[object, list[object]] = {}
    for way in result.arrows.values():
        for a, b in pairwise(way):
            near.setdefault(a, []).append(b)
            near.setdefault(b, []).append(a)
    return near


def _crossings(rows: list[list[object]], links: list[tuple[object, object]]) -> int:
    place = {n: (r, i) for r, row in enumerate(rows) for i, n in enumerate(row)}
    count = 0
    for r in range(1, len(rows)):
        ends = [(place[a][1], place[b][1]) for a, b in links if place[a][0] == r]
        count += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ends) for c, d in ends[:i])
    return count


def _place(result: Layout) -> None:
    """Each box as near to the middle of its neighbours as order and widths allow."""
    near = _neighbours(result)
    starts = []
    for row in result.rows:
        widths = np.array([box_width(n) for n in row])
        starts.append(np.cumsum(widths + _GAP) - widths / 2 - _GAP / 2)
        starts[-1] -= starts[-1].mean()
        result.x.update(zip(row, starts[-1].tolist(), strict=True))
    for sweep in range(60):
        order = range(len(result.rows)) if sweep % 2 else range(len(result.rows) - 1, -1, -1)
        for r in order:
            row, start = result.rows[r], starts[r]
            wish = np.array([np.mean([result.x[o] for o in near[n]]) if n in near else result.x[n] for n in row])
            # Without the room that the boxes take, "not overlapping" is "not decreasing".
            x = np.array(_nearest_not_decreasing((wish - start).tolist())) + start
            result.x.update(zip(row, x.tolist(), strict=True))


def _nearest_not_decreasing(wish: list[float]) -> list[float]:
    """The sequence closest to ``wish`` in squares that never falls: runs that fall share their mean."""
    runs: list[tuple[float, int]] = []
    for value in wish:
        total, count = value, 1
        while runs and runs[-1][0] / runs[-1][1] > total / count:
            before = runs.pop()
            total, count = total + before[0], count + before[1]
        runs.append((total, count))
    return [total / count for total, count in runs for _ in range(count)]


def draw(graph: Graph, path: Path) -> None:
    """Draw the graph as SVG or PNG."""
    plan = layout(graph)
    ends = [(plan.x[n] - box_width(n) / 2, plan.x[n] + box_width(n) / 2) for row in plan.rows for n in row]
    left, right = min(e[0] for e in ends) - 0.1, max(e[1] for e in ends) + 0.1
    y = {n: r * _ROW for r, row in enumerate(plan.rows) for n in row}
    top = (len(plan.rows) - 1) * _ROW
    figure = Figure(figsize=(right - left, top + _BOX + 0.2))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(left, right), ylim=(-_BOX / 2 - 0.1, top + _BOX / 2 + 0.1))
    axis.axis("off")
    for way in plan.arrows.values():
        points, codes = [(plan.x[way[0]], y[way[0]] - _BOX / 2)], [Curve.MOVETO]
        for there in way[1:]:
            end = (plan.x[there], y[there] + (_BOX / 2 if isinstance(there, str) else 0))
            start, bend = points[-1], 0.5 * (points[-1][1] - end[1])
            points += [(start[0], start[1] - bend), (end[0], end[1] + bend), end]
            codes += [Curve.CURVE4] * 3
        axis.add_patch(
            FancyArrowPatch(path=Curve(points, codes), arrowstyle="-|>,head_width=2.2,head_length=4.5",
                            color="#5b6b7b", lw=0.9, shrinkA=0, shrinkB=0, joinstyle="miter"))  # fmt: skip
    for name in graph:
        fill, edge = ("#f4ead7", "#8a6d2f") if name.startswith("_") and not name.startswith("__") else (
            "#e3edf7", "#33526e")  # fmt: skip
        width = box_width(name)
        axis.add_patch(
            FancyBboxPatch((plan.x[name] - width / 2, y[name] - _BOX / 2), width, _BOX,
                           boxstyle="round,pad=0,rounding_size=0.05", fc=fill, ec=edge, lw=1.0, zorder=3))  # fmt: skip
        axis.text(plan.x[name], y[name] - 0.01, name, ha="center", va="center", fontsize=_SIZE, family="monospace",
                  zorder=4)  # fmt: skip
    figure.savefig(path)
