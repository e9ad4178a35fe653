"""The import graph of a package, read off its source."""

from __future__ import annotations

import ast
from pathlib import Path

Graph = dict[str, set[str]]


def import_graph(package: Path) -> Graph:
    """Which module of a package imports which other at the top level or inside functions.

    Args:
        package: Folder of the package.

    Returns:
        From module name, relative to the package, to the names of the modules that it imports. A subpackage's
        ``__init__`` bears the subpackage's name; that of the package itself is left out, as it re-exports everything.
    """
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            modules[name] = path
    graph: Graph = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                # "from package import module" needs the module, "from module import name" the module before.
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                found = [f if f.removeprefix(f"{package.name}.") in modules else node.module for f in inner]
            else:
                continue
            inside = (full.removeprefix(f"{package.name}.") for full in found if full.startswith(f"{package.name}."))
            graph[name].update(other for other in inside if other in modules and other != name)
    return graph


def headlines(package: Path, graph: Graph | None = None) -> dict[str, str]:
    """What each module of a package is for, in its own words: the first line of its docstring.

    Args:
        package: Folder of the package.
        graph: Of the modules in question; by default all, subpackages as one.

    Returns:
        By name as in :func:`folded`, from those who import to those who are imported.
    """
    height = levels(folded(import_graph(package)) if graph is None else graph)
    lines = {}
    for name in sorted(height, key=lambda n: (-height[n], n)):
        path = package / name / "__init__.py" if name.endswith("/") else package / f"{name}.py"
        lines[name] = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return lines


def inside(graph: Graph, subpackage: str) -> Graph:
    """The modules of one subpackage and what they import of each other, by their names in it."""
    prefix = f"{subpackage}."
    own = {name: others for name, others in graph.items() if name.startswith(prefix)}
    return {
        name.removeprefix(prefix): {other.removeprefix(prefix) for other in others if other in own}
        for name, others in own.items()
    }


def folded(graph: Graph) -> Graph:
    """The graph with each subpackage as one node, whose name ends in a slash."""
    packages = {name.partition(".")[0] for name in graph if "." in name}

    def node(name: str) -> str:
        head = name.partition(".")[0]
        return f"{head}/" if head in packages else head

    small: Graph = {}
    for name, others in graph.items():
        small.setdefault(node(name), set()).update(map(node, others))
    return {name: others - {name} for name, others in small.items()}


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
            height[name] = 1 + max((visit(other, (*path, name)) for other in sorted(graph[name])), default=-1)
        return height[name]

    for name in graph:
        visit(name, ())
    return height


def reduced(graph: Graph) -> Graph:
    """The graph without the arrows that a longer way implies."""
    reach: Graph = {}
    for name in sorted(graph, key=levels(graph).__getitem__):
        reach[name] = graph[name].union(*(reach[other] for other in graph[name]))
    return {name: {o for o in others if not any(o in reach[via] for via in others)} for name, others in graph.items()}
