"""The import graph of the library, read off its source, and its drawing for the architecture page."""

from __future__ import annotations

import ast
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

Graph = dict[str, set[str]]


def import_graph(package: Path) -> Graph:
    """Which module of a package imports which other at the top level or inside functions.

    Args:
        package: Folder of the package.

    Returns:
        From module name, relative to the package, to the names of the modules that it imports. ``__init__`` is left
        out: it re-exports everything.
    """
    modules = {
        ".".join(path.relative_to(package).with_suffix("").parts): path
        for path in sorted(package.rglob("*.py"))
        if path.name != "__init__.py"
    }
    imports = {name: _imported(path, package.name) for name, path in modules.items()}
    # What is imported from a subpackage comes from the modules that its __init__ imports.
    offered = {
        ".".join(path.parent.relative_to(package).parts): _imported(path, package.name) & modules.keys()
        for path in package.rglob("*/__init__.py")
    }
    return {
        name: set().union(*(offered.get(other, {other}) for other in others)) & modules.keys() - {name}
        for name, others in imports.items()
    }


def _imported(path: Path, package: str) -> set[str]:
    """Names below a package that a source file imports, relative to it; some may be no modules."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {full.removeprefix(f"{package}.") for full in found if full.startswith(f"{package}.")}


def folded(graph: Graph, *left_out: str) -> Graph:
    """The graph with each subpackage as one node, and without some modules."""
    small: Graph = {}
    for name, others in graph.items():
        node = name.partition(".")[0]
        if node not in left_out:
            small.setdefault(node, set()).update(o.partition(".")[0] for o in others)
    return {name: {o for o in others if o in small and o != name} for name, others in small.items()}


def levels(graph: Graph) -> dict[str, int]:
    """Height of each module above those that import nothing.

    Raises:
        ValueError: Modules import each other in a circle.
    """
    height: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            raise ValueError(f"circular import: {' -> '.join((*path[path.index(name) :], name))}")
        if name not in height:
            height[name] = 1 + max((visit(other, (*path, name)) for other in graph[name]), default=-1)
        return height[name]

    for name in graph:
        visit(name, ())
    return height


def reduced(graph: Graph) -> Graph:
    """The graph without the arrows that a longer way implies."""

    def reachable(name: str) -> set[str]:
        return set().union(*({other} | reachable(other) for other in graph[name]))

    return {
        name: {o for o in others if not any(o in reachable(via) for via in others - {o})}
        for name, others in graph.items()
    }


def draw(graph: Graph, path: Path) -> None:
    """Draw the graph from top (who imports) to bottom (who is imported)."""
    height = levels(graph)
    rows = [sorted(n for n in graph if height[n] == level) for level in range(max(height.values()) + 1)]
    arrows = reduced(graph)
    x: dict[str, float] = {}
    for row in rows:  # from the bottom: each module above the middle of what it imports, as far as there is room
        wish = {n: sum(x[o] for o in arrows[n]) / len(arrows[n]) if arrows[n] else 0.0 for n in row}
        for place, n in enumerate(sorted(row, key=lambda n: wish[n])):
            x[n] = place - (len(row) - 1) / 2
    widest = max(map(len, rows))
    figure = Figure(figsize=(1.75 * widest + 0.4, 0.95 * len(rows) + 0.2))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-widest / 2 - 0.1, widest / 2 + 0.1), ylim=(-0.55, len(rows) - 0.45))
    axis.axis("off")
    for name, others in arrows.items():
        for other in others:
            axis.annotate(
                "", (x[other], height[other] + 0.22), (x[name], height[name] - 0.22),
                arrowprops={"arrowstyle": "-|>", "color": "#5b6b7b", "lw": 1.0, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
    for name in graph:
        public = not name.startswith("_")
        box = FancyBboxPatch(
            (x[name] - 0.44, height[name] - 0.17), 0.88, 0.34, boxstyle="round,pad=0.02,rounding_size=0.06",
            fc="#e3edf7" if public else "#f4ead7", ec="#33526e" if public else "#8a6d2f", lw=1.0, zorder=3,
        )  # fmt: skip
        axis.add_patch(box)
        axis.text(x[name], height[name], name, ha="center", va="center", fontsize=9.5, family="monospace", zorder=4)
    figure.savefig(path)
