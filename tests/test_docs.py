"""What the documentation says is run, parsed or looked up."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import benchmarks
import normgrad_attr
from normgrad_attr import functional

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in (ROOT / "docs").rglob("*.md") if not {"_build", "gallery", "made", "results"} & set(p.parts))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, *languages: str) -> list[str]:
    return [code for language, code in FENCE.findall(path.read_text(encoding="utf-8")) if language in languages]


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules_of(package: ModuleType) -> list[str]:
    return [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.") if "__main__" not in m.name]


@pytest.mark.parametrize("path", [p for p in TEXTS if blocks(p, "python")], ids=page_name)
def test_code_blocks_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a page's blocks in one namespace, in order; tables that a page adds to are put back."""
    monkeypatch.setattr(functional, "AGGREGATES", functional.AGGREGATES)
    tables = (functional.AGGREGATES, normgrad_attr.LAYER_EXTRACTS)
    before = [dict(table) for table in tables]
    namespace: dict[str, Any] = {}
    try:
        for code in blocks(path, "python"):
            exec(compile(code, page_name(path), "exec"), namespace)
    finally:
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)


COMMAND = re.compile(r"python -m benchmarks( [^`#\n&|]*)?")


@pytest.mark.parametrize("path", TEXTS, ids=page_name)
def test_command_lines_parse(path: Path) -> None:
    from benchmarks.__main__ import build_parser

    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for match in COMMAND.finditer(text):
        words = shlex.split(match[1] or "")
        if words and re.fullmatch(r"[a-z]+", words[0]) and "--help" not in words:
            build_parser().parse_args(words)


@pytest.mark.parametrize("name", [*modules_of(normgrad_attr), *modules_of(benchmarks)])
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def public_objects() -> list[tuple[str, Any]]:
    found = [(name, getattr(normgrad_attr, name)) for name in normgrad_attr.__all__]
    found += [(f"functional.{name}", getattr(functional, name)) for name in functional.__all__]
    for name, thing in list(found):
        if inspect.isclass(thing):
            methods = inspect.getmembers(thing, inspect.isfunction)
            found += [(f"{name}.{m}", f) for m, f in methods if m in vars(thing) and not m.startswith("_")]
    return [(name, thing) for name, thing in found if callable(thing)]


@pytest.mark.parametrize(("name", "thing"), [pytest.param(n, t, id=n) for n, t in public_objects()])
def test_public_docstrings_are_complete(name: str, thing: Any) -> None:
    """Every argument is described, and so are result and errors; what a user calls first has an example."""
    text = inspect.getdoc(thing) or ""
    assert text, name
    parameters = [p for p in inspect.signature(thing).parameters if p not in ("self", "args", "kwargs")]
    if parameters and "Window." not in name:
        assert "Args:" in text, name
        described = text.split("Args:")[1]
        for parameter in parameters:
            assert re.search(rf"^\s+\**{parameter}:", described, re.MULTILINE), f"{name}: {parameter}"
    if inspect.isfunction(thing) and parameters and "Window." not in name:
        assert "Returns:" in text, name
        raises = "raise " in inspect.getsource(inspect.unwrap(thing))
        assert "Raises:" in text or not raises, name
    if name in normgrad_attr.__all__ or name == "functional.normgrad_map":
        assert ">>> " in text, name


ROLE = re.compile(r"\{(?:func|class|data|mod|meth)\}`~?([\w.]+)`")


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_names_of_code_exist(path: Path) -> None:
    """Sphinx checks what it documents; this also checks the code names in backquotes."""
    text = path.read_text(encoding="utf-8")
    for full in ROLE.findall(text):
        assert found(full), full
    for module in re.findall(r"`(normgrad_attr/\w+\.py|benchmarks/[\w/]+\.py|tests/[\w/]+\.py|docs/[\w/]+/)`", text):
        assert (ROOT / module).exists(), module


def found(full: str) -> bool:
    parts = full.split(".")
    for i in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:i]))
        except ImportError:
            continue
        try:
            for part in parts[i:]:
                thing = getattr(thing, part)
        except AttributeError:
            return False
        return True
    return False


LINK = re.compile(r"\]\(([^)#\s]+\.(?:md|rst|py|png|cff))(?:#[\w-]+)?\)")


@pytest.mark.parametrize("path", TEXTS, ids=page_name)
def test_links_between_files_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith(("gallery/", "made/", "../made/")):
            assert (path.parent / target).exists() or (path.name == "CONTRIBUTING.md"), target


@pytest.fixture
def graph_of() -> Any:
    sys.path.insert(0, str(ROOT / "docs" / "extensions"))
    try:
        yield importlib.import_module("import_graph")
    finally:
        sys.path.remove(str(ROOT / "docs" / "extensions"))


def test_imports_go_one_way(graph_of: Any) -> None:
    """The picture of the architecture page: no circles, and the library knows nothing of the benchmark."""
    graph = graph_of.import_graph(ROOT / "normgrad_attr")
    heights = graph_of.levels(graph)
    assert heights["combined"] > heights["attribution"] > heights["capture"] > heights["_captum"]
    assert heights["capture"] > max(heights["recorder"], heights["guards"])
    assert heights["attribution"] > heights["aggregate"] > heights["extract"] > heights["window"]
    graph_of.levels(graph_of.import_graph(ROOT / "benchmarks"))
    for module in (ROOT / "normgrad_attr").glob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        imported = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        roots = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
        drawing = {"matplotlib"} if module.name == "visualize.py" else set()  # imported when a figure is drawn
        assert roots <= {"normgrad_attr", "torch", "captum"} | drawing, module.name


def test_circular_imports_are_found(graph_of: Any) -> None:
    with pytest.raises(ValueError, match="a -> b -> a"):
        graph_of.levels({"a": {"b"}, "b": {"a"}})


def test_examples_are_in_the_gallery_and_described() -> None:
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert len(scripts) >= 8
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert script.name == "shapes.py" or (script.name.startswith("plot_") and re.match(r'"""\n.+\n=+\n', text))


AMERICAN = re.compile(
    r"\b(?:normaliz|optimiz|summariz|visualiz|recogniz|randomiz|initializ|maximiz|color|gray|center\b|behavior|labeled)",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", TEXTS, ids=page_name)
def test_spelling_is_british(path: Path) -> None:
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)|\*[^*]+\*|<[^>]+>", "", prose)  # code, links, titles of papers
    assert not AMERICAN.findall(prose)


def test_no_paths_of_a_machine() -> None:
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(work|home|root|tmp|opt)/", text), path
