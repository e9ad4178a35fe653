"""Docstrings of what is public: their examples run, and they say what a user must know."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import benchmarks
import normgrad_attr
from normgrad_attr import functional

API = sorted((Path(__file__).parent.parent / "docs" / "api").glob("*.md"))


def modules_of(package: ModuleType) -> list[str]:
    return [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.") if "__main__" not in m.name]


@pytest.mark.parametrize("name", [*modules_of(normgrad_attr), *modules_of(benchmarks)])
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


DIRECTIVE = re.compile(r"^\.\. (auto\w+|module|currentmodule):: *([\w.]+)\n((?:   :[^\n]*\n)*)", re.MULTILINE)


def documented() -> dict[str, Any]:
    """What the pages of the API reference show, by name: functions, classes and their listed methods."""
    found: dict[str, Any] = {}
    for page in API:
        module = ""
        for kind, name, options in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            listed = re.search(r":members:(.*)", options)
            if kind in ("module", "currentmodule"):
                module = name
            elif kind == "automodule":
                content = vars(importlib.import_module(name))
                own = [n for n, thing in content.items() if getattr(thing, "__module__", None) == name and n[0] != "_"]
                for member in names(listed[1]) or own if listed else ():
                    found |= with_members(f"{name}.{member}", content[member], [])
            else:
                full = name if name.startswith(("normgrad_attr.", "benchmarks.")) else f"{module}.{name}"
                home, _, attribute = full.rpartition(".")
                thing = getattr(importlib.import_module(home), attribute)
                found |= with_members(full, thing, names(listed[1]) if listed else None)
    return {name: thing for name, thing in found.items() if callable(thing)}


def names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def with_members(full: str, thing: Any, members: list[str] | None) -> dict[str, Any]:
    """A thing, and of a class the public methods (all of its own where none are listed)."""
    found = {full: thing}
    if inspect.isclass(thing) and members is not None:
        for member in members or [n for n, v in vars(thing).items() if n[0] != "_" and inspect.isfunction(v)]:
            if callable(getattr(thing, member)):
                found[f"{full}.{member}"] = getattr(thing, member)
    return found


DOCUMENTED = documented()


def test_the_reference_shows_every_public_name() -> None:
    shown = {name.rpartition(".")[2] for name in DOCUMENTED}
    data = set(re.findall(r"data:: *[\w.]*?(\w+)\n", "".join(p.read_text(encoding="utf-8") for p in API)))
    assert {*normgrad_attr.__all__, *functional.__all__} <= shown | data


LENGTHS = {"sigma", "frame", "size", "tolerance", "tolerances", "width", "height", "kernel_size", "spatial"}
ARRAY = re.compile(r"\b(?:Tensor|ndarray|NDArray)\b")
SHAPE = re.compile(
    r"\([NC],|``\(N|\((?:height|frame)|[Ss]calars|any shape|[Ss]ame|of the shape|[Aa]s (?:in|for)|[Ss]ee "
)
DTYPE = re.compile(r"\b(?:float\w*|dtypes?|bool|u?int\d*)\b")
SOURCE = re.compile(r"arXiv|CVPR|MIDL")


def parts(text: str) -> dict[str, str]:
    """The sections of a Google docstring, the head as ""."""
    pieces = re.split(r"^([A-Z][a-z]+):\n(?=    )", text, flags=re.MULTILINE)
    return {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}


def entries(section: str) -> dict[str, str]:
    """The entries ``name: text`` of a section."""
    pieces = re.split(r"^    \**(\w+):\s", section, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


NOBODYS_INVENTION = {
    "Peak",
    "Summands",
    "Window",
    "find_peaks",
    "find_points",
    "heat",
    "is_constant",
    "minmax",
    "overlay",
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_public_docstrings_are_complete(name: str) -> None:
    """Arguments with shapes, dtypes and units, result, errors; for the library an example and the source, too."""
    thing = DOCUMENTED[name]
    text = inspect.getdoc(thing) or ""
    assert text
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    signature = inspect.signature(thing)
    parameters = {n: p for n, p in signature.parameters.items() if n not in ("self", "args")}
    sections = parts(text)
    described = entries(sections.get("Args", "") or sections.get("Attributes", ""))
    assert set(parameters) <= set(described) | {"kwargs"}
    arrays = [
        n for n, p in parameters.items() if ARRAY.search(str(p.annotation)) and "Callable" not in str(p.annotation)
    ]
    for array in arrays:
        assert SHAPE.search(described[array]), f"shape of {array}"
    assert not arrays or DTYPE.search(text) or "As in :meth:" in text, "dtype"
    for length in LENGTHS & set(parameters):
        assert re.search("pixels|cells|inches", described[length]), f"unit of {length}"
    if inspect.isfunction(thing):
        returned = str(signature.return_annotation)
        assert "Returns" in sections or returned == "None"
        if ARRAY.search(returned):
            assert SHAPE.search(sections["Returns"]), "shape of the result"
        body = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing))))
        raises = any(isinstance(node, ast.Raise) for node in ast.walk(body))
        assert "Raises" in sections or not raises
    method = name.rpartition(".")[0] in DOCUMENTED
    if name.startswith("normgrad_attr.") and not method:
        assert ">>> " in text, "example"
        if name.rpartition(".")[2] not in NOBODYS_INVENTION:
            assert SOURCE.search(text), "source"
