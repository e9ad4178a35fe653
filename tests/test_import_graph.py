"""The architecture: who may import whom, and the drawing that the documentation makes of it."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY, BENCHMARKS = ROOT / "normgrad_attr", ROOT / "benchmarks"


@pytest.fixture(scope="module")
def extension() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The modules import_graph and graph_drawing of the documentation."""
    sys.path.insert(0, str(ROOT / "docs" / "extensions"))
    try:
        yield importlib.import_module("import_graph"), importlib.import_module("graph_drawing")
    finally:
        sys.path.remove(str(ROOT / "docs" / "extensions"))


Extension = tuple[ModuleType, ModuleType]


def test_no_module_imports_in_a_circle(extension: Extension) -> None:
    graphs, _ = extension
    for package in (LIBRARY, BENCHMARKS):
        graphs.levels(graphs.import_graph(package))
        graphs.levels(graphs.folded(graphs.import_graph(package)))


def test_pure_functions_know_nothing_of_models(extension: Extension) -> None:
    graphs, _ = extension
    graph = graphs.import_graph(LIBRARY)
    pure = {"_window", "_extract", "_aggregate", "_combine", "_findings", "_scale", "_smoothing", "_warn"}
    assert set().union(*(graph[name] for name in pure)) <= pure
    assert not graph["_captum"]


ORDER = (
    "commands", "evaluation", "report", "speed", "consistency", "scoring", "explain", "methods", "classifier",
    "synthetic", "shapes", "analysis", "formats", "data", "films", "zoo", "models", "metrics", "run",
)  # fmt: skip
"""Rooms of the benchmark from top to bottom; imports run downwards."""
MOST_FILES = {"methods": 19, "formats": 19, "metrics": 18, "evaluation": 14}
"""A file a family, a format, a measure, a step of an evaluation."""


def test_the_benchmark_is_built_in_floors(extension: Extension) -> None:
    graphs, _ = extension
    floors = {name.rstrip("/"): others for name, others in graphs.folded(graphs.import_graph(BENCHMARKS)).items()}
    assert set(floors) == {*ORDER, "__main__"}
    for room in ORDER:
        below = {other.rstrip("/") for other in floors[room]}
        assert below <= set(ORDER[ORDER.index(room) + 1 :]), room


def test_a_room_holds_one_idea_that_its_first_line_tells() -> None:
    for room in (path.parent for path in BENCHMARKS.glob("*/__init__.py")):
        assert len(list(room.glob("*.py"))) <= MOST_FILES.get(room.name, 13), room.name
        assert ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))), room.name


def test_no_two_modules_bear_one_name() -> None:
    names = [path.stem for path in BENCHMARKS.rglob("*.py") if path.stem != "__init__"]
    assert len(names) == len(set(names))


FACES = ("normgrad_attr", "normgrad_attr.functional", "normgrad_attr.visualize")


def test_the_benchmark_uses_the_library_as_anyone_would() -> None:
    faces = {name: importlib.import_module(name) for name in FACES}
    for path in BENCHMARKS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "normgrad_attr":
                allowed = {*faces[node.module or ""].__all__, "__version__"}
                assert {alias.name for alias in node.names} <= allowed, path


def test_the_library_needs_torch_and_captum_alone() -> None:
    for module in LIBRARY.rglob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        imported = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        roots = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
        draws = module.name in ("visualize.py", "_explain.py")
        drawing = {"matplotlib", "numpy", "PIL"} if draws else set()  # which captum needs
        assert roots <= {"normgrad_attr", "torch", "captum"} | drawing, module.name


def test_circular_imports_are_found(extension: Extension) -> None:
    with pytest.raises(ValueError, match="a -> b -> a"):
        extension[0].levels({"a": {"b"}, "b": {"a"}})


def test_all_ways_to_import_are_seen(extension: Extension, tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "sub").mkdir(parents=True)
    for name, text in {
        "__init__": "from package.a import f",
        "a": '"""About a.\n\nMore."""\nimport torch\n\ndef f():\n    import package.b',
        "b": "from package import sub",
        "sub/__init__": '"""About sub."""\nfrom package.sub.c import g',
        "sub/c": "from package import d",
        "d": "",
    }.items():
        (package / f"{name}.py").write_text(text)
    graphs, _ = extension
    graph = graphs.import_graph(package)
    assert graph == {"a": {"b"}, "b": {"sub"}, "sub": {"sub.c"}, "sub.c": {"d"}, "d": set()}
    assert graphs.folded(graph) == {"a": {"b"}, "b": {"sub/"}, "sub/": {"d"}, "d": set()}
    assert list(graphs.headlines(package).items())[:1] == [("a", "About a.")]
    assert graphs.headlines(package)["sub/"] == "About sub."


def test_implied_arrows_are_left_out(extension: Extension) -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert extension[0].reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": set()}


@pytest.mark.parametrize("modules", [1, 12, 80])
def test_drawings_of_any_size_are_legible(extension: Extension, modules: int) -> None:
    """Importers lie above what they import, no box lies on another, no row is wider than a page."""
    _, drawing = extension
    names = [f"module_{i}" for i in range(modules)]
    graph = {
        name: {names[j] for j in range(i + 1, modules) if (3 * i + 7 * j) % 11 == 0} for i, name in enumerate(names)
    }
    plan = drawing.layout(graph)
    row = {name: r for r, content in enumerate(plan.rows) for name in content}
    assert set(names) == {name for name in row if isinstance(name, str)}
    for name, others in graph.items():
        assert all(row[name] > row[other] for other in others)
    for content in plan.rows:
        boxes = [(plan.x[n] - drawing.box_width(n) / 2, plan.x[n] + drawing.box_width(n) / 2) for n in content]
        assert all(right < left for (_, right), (left, _) in pairwise(boxes))
        assert sum(drawing.box_width(n) for n in content) <= drawing.WIDTH
    for (start, end), way in plan.arrows.items():
        assert [row[n] for n in way] == list(range(row[start], row[end] - 1, -1))


def test_crossings_are_avoided(extension: Extension) -> None:
    """Two arrows that cross in alphabetical order need not."""
    plan = extension[1].layout({"a": {"d"}, "b": {"c"}, "c": set(), "d": set()})
    low, high = plan.rows
    assert [{"a": "d", "b": "c"}[n] for n in high] == low
