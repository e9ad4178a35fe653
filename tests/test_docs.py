"""What the documentation says is run, parsed or looked up."""

from __future__ import annotations

import argparse
import ast
import csv
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import normgrad_attr
from normgrad_attr import functional

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in (ROOT / "docs").rglob("*.md") if not {"_build", "gallery", "made", "results"} & set(p.parts))
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, *languages: str) -> list[str]:
    return [code for language, code in FENCE.findall(path.read_text(encoding="utf-8")) if language in languages]


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [p for p in TEXTS if blocks(p, "python")], ids=page_name)
def test_code_blocks_run(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All of a page's blocks in one namespace, in order; tables that a page adds to are put back."""
    monkeypatch.chdir(tmp_path)
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
    from benchmarks.methods import select_methods

    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for match in COMMAND.finditer(text):
        words = shlex.split(match[1] or "")
        if words and re.fullmatch(r"[a-z]+", words[0]) and "--help" not in words:
            settings = build_parser().parse_args(words)
            select_methods(getattr(settings, "methods", None) or "paper")


ROLE = re.compile(r"\{(?:func|class|data|mod|meth)\}`~?([\w.]+)`")


def test_every_command_is_documented() -> None:
    from benchmarks.__main__ import build_parser

    (commands,) = (a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    pages = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert len(commands) >= 8
    assert not [name for name in commands if f"python -m benchmarks {name}" not in pages]


FILE = re.compile(
    r"`((?:normgrad_attr|benchmarks|tests|docs|examples|\.ci)/[\w/.-]+|[A-Z]+\.(?:md|cff)|pyproject\.toml)`"
)


@pytest.mark.parametrize("path", TEXTS, ids=page_name)
def test_names_of_code_exist(path: Path) -> None:
    """Sphinx checks what it documents; this also checks the names of code and files in backquotes."""
    text = path.read_text(encoding="utf-8")
    for full in ROLE.findall(text):
        assert found(full), full
    for file in FILE.findall(text):
        assert (ROOT / file).exists() or file.startswith(("docs/_build", "docs/made")) or "_NN_" in file, file


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


def test_quoted_messages_are_those_of_the_library() -> None:
    """The page on errors quotes the constant parts of messages."""
    source = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "normgrad_attr").rglob("*.py")]
    texts = [n.value for tree in source for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is str]
    page = (ROOT / "docs" / "howto" / "troubleshoot.md").read_text(encoding="utf-8").split("## Maps")[0]
    quoted = [row.split("|")[1].strip() for row in page.splitlines() if row.startswith("| ")][1:]
    assert len(quoted) >= 9
    for fragment in (part.strip() for message in quoted for part in message.split("...")):
        assert any(fragment in text for text in texts), fragment


LINK = re.compile(r"\]\(([^)#\s]+\.(?:md|rst|py|png|cff))(?:#[\w-]+)?\)")


@pytest.mark.parametrize("path", TEXTS, ids=page_name)
def test_links_between_files_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith(("gallery/", "made/", "../made/")):
            assert (path.parent / target).exists() or (path.name == "CONTRIBUTING.md"), target


def test_examples_are_in_the_gallery_or_described() -> None:
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert len(scripts) >= 9
    described = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for script in scripts:
        in_gallery = script.name.startswith("plot_")
        titled = re.match(r'"""\n.+\n=+\n', script.read_text(encoding="utf-8"))
        assert titled if in_gallery else f"`{script.name}`" in described, script.name


def test_no_paths_of_a_machine() -> None:
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(work|home|root|tmp|opt)/", text), path


README_TABLES = [
    (kind, run, table)
    for kind in ("results", "verdicts")
    for run, table in re.findall(
        rf"<!-- {kind}: runs/(\w+)/\w+.csv -->\n(.*?)<!-- {kind} end -->",
        README,
        re.DOTALL,
    )
]


@pytest.mark.parametrize(("run", "table"), [(run, table) for kind, run, table in README_TABLES if kind == "results"])
def test_the_table_of_the_readme_is_that_of_the_stored_run(run: str, table: str) -> None:
    """Every figure, from the very file that the command beside it wrote."""
    with (ROOT / "docs" / "results" / run / "summary.csv").open(newline="", encoding="utf-8") as stream:
        stored = {(row["method"], row["protocol"], row["tolerance"]): row for row in csv.DictReader(stream)}
    shown = [[cell.strip(" `") for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    assert {row[0] for row in shown} == {method for method, _, _ in stored}
    for method, *cells in shown:
        for cell, key in zip(cells, (("fair", "0"), ("fair", "15"), ("paper", "15")), strict=True):
            row = stored[(method, *key)]
            expected = [100 * float(row[name]) for name in ("accuracy", "ci_low", "ci_high")]
            assert cell == "{:.1f} [{:.1f}, {:.1f}]".format(*expected), (method, key)


@pytest.mark.parametrize(("run", "table"), [(run, table) for kind, run, table in README_TABLES if kind == "verdicts"])
def test_the_readme_says_whose_the_misses_are_as_the_stored_run_does(run: str, table: str) -> None:
    with (ROOT / "docs" / "results" / run / "summary_verdicts.csv").open(newline="", encoding="utf-8") as stream:
        rows = {
            (r["method"], r["tolerance"], r["verdict"]): r for r in csv.DictReader(stream) if r["protocol"] == "fair"
        }
    shown = [[cell.strip(" `") for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    assert len(shown) > 1
    for method, *cells in shown:
        keys = (("0", "object"), ("15", "object"), ("0", "clean"), ("15", "clean"))
        expected = [f"{100 * float(rows[(method, *key)]['accuracy']):.1f}" for key in keys]
        assert cells == [*expected, f"{100 * float(rows[method, '15', 'clean']['share_of_misses']):.0f}"], method


def test_the_readme_says_what_maps_cost_as_the_stored_run_does() -> None:
    networks = json.loads((ROOT / "docs" / "results" / "speed" / "speed.json").read_text(encoding="utf-8"))["networks"]
    titles = ("NormGrad, last layer", "CombinedNormGrad, 4 layers")
    said = re.search(r"last layer costs (.+?) to (.+?) times .+?layers (.+?) to (.+?) times", README, re.DOTALL)
    assert said is not None
    for title, low, high in zip(titles, said.groups()[::2], said.groups()[1::2], strict=True):
        medians = [row["time_ratio"]["median"] for rows in networks.values() for row in rows if row["title"] == title]
        assert len(medians) == 6
        assert (f"{min(medians):.1f}", f"{max(medians):.1f}") == (low, high)


def test_the_readme_shows_both() -> None:
    assert {kind for kind, _, _ in README_TABLES} == {"results", "verdicts"}
