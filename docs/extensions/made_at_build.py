"""What the build makes before it reads the pages: the drawn figures, and the pages on the stored benchmark runs."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import another_machine
import cost
import extract_figure
import gpu_section
import graph_drawing
import method_table
import pandas as pd
import pictures
import shapes_tables
from import_graph import folded, headlines, import_graph, inside
from readme_tables import RECOMMENDED
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from benchmarks.analysis.measure_table import CHANGES, MEASURES, Measure
from benchmarks.consistency.check_tables import markdown as consistency_tables
from benchmarks.consistency.follows import BOTH, NEITHER, PICTURE, WEIGHTS, follows, follows_section
from benchmarks.consistency.variants import CHANCE
from benchmarks.metrics.pointing_game import MAIN_TOLERANCE
from benchmarks.report.page import page as report_page
from benchmarks.run.text_tables import markdown_table, within
from benchmarks.zoo.zoo_tables import markdown as zoo_tables

FAST_METHODS = "synthetic_fast"


def make(app: Sphinx) -> None:
    """Write everything that is made to ``docs/made``, where the pages find it."""
    docs = Path(app.srcdir)
    made = docs / "made"
    made.mkdir(exist_ok=True)
    extract_figure.draw(made / "extract_aggregate.svg")
    for package in ("normgrad_attr", "benchmarks"):
        graph_drawing.draw(folded(import_graph(docs.parent / package)), made / f"imports_{package}.svg")
        table = module_table(headlines(docs.parent / package))
        (made / f"modules_{package}.md").write_text(table, encoding="utf-8")
    (made / "rooms_benchmarks.md").write_text(rooms(docs.parent / "benchmarks", made), encoding="utf-8")
    # -D plot_gallery=0 asks for a quick build.
    trained = app.config["plot_gallery"] not in (0, "0", "False")
    pictures.draw_start(made / "start.png", trained=trained)
    pictures.draw_grid(made / "grid.png", trained=trained)
    runs = sorted(path.parent for path in (docs / "results").glob("*/summary.md"))
    of_many = docs / "results" / FAST_METHODS  # which has a page of its own
    (made / f"results_{FAST_METHODS}.md").write_text(run_section(of_many, made), encoding="utf-8")
    sections = [run_section(run, made) for run in runs if run != of_many]
    (made / "results.md").write_text("\n".join(sections), encoding="utf-8")
    (made / "methods.md").write_text(method_table.table(), encoding="utf-8")
    (made / "measures.md").write_text(measure_rows(MEASURES), encoding="utf-8")
    (made / "changes.md").write_text(measure_rows(CHANGES), encoding="utf-8")
    (made / "cost.md").write_text(cost.table(docs / "results" / "synthetic"), encoding="utf-8")
    (made / "works_with.md").write_text(zoo_section(docs / "results" / "zoo"), encoding="utf-8")
    results = [path.parent for path in sorted((docs / "results").glob("*/consistency.csv")) if path.parent != of_many]
    (made / "sanity.md").write_text(sanity_sections(results, made), encoding="utf-8")
    (made / "sanity_sentence.md").write_text(sanity_sentence(results), encoding="utf-8")
    of_shapes = docs / "results" / "shapes"
    (made / "shapes.md").write_text(shapes_tables.shapes_section(of_shapes), encoding="utf-8")
    (made / "shapes_costs.md").write_text(shapes_tables.costs_section(of_many), encoding="utf-8")
    (made / "speed.md").write_text(speed_section(docs / "results" / "speed", made), encoding="utf-8")
    of_seeds = docs / "results" / "synthetic_seeds"
    there = of_seeds.with_name("synthetic_seeds_elsewhere")
    (made / "another_machine.md").write_text(unbroken(another_machine.section(of_seeds, there)), encoding="utf-8")
    (made / "gpu.md").write_text(gpu_section.section(docs / "results" / "gpu"), encoding="utf-8")


def module_table(lines: dict[str, str]) -> str:
    """Modules and what they are for, as Markdown."""
    rows = [["module", "what it is"], *([f"`{name}`", line] for name, line in lines.items())]
    return "\n".join([*markdown_table(rows, left=(0, 1)), ""])


def measure_rows(measures: Mapping[str, Measure]) -> str:
    """Measures as Markdown, with the papers that they are from; which values are better, where that is not the same."""
    head = ["measure", "what it is", "better"]
    rows = [[f"`{name}`", of.words + _cited(of.source), of.better] for name, of in measures.items()]
    columns = 3 if all(better for *_, better in rows) else 2
    return "\n".join([*markdown_table([row[:columns] for row in (head, *rows)], left=range(3)), ""])


def _cited(source: tuple[str, ...]) -> str:
    return f" ([{source[0]}](#{source[1]}))" if source else ""


def rooms(package: Path, made: Path) -> str:
    """A section on the inside of each subpackage, from those who import to those who are imported.

    Args:
        package: Folder of the package.
        made: Folder for the drawings.
    """
    graph = import_graph(package)
    sections = []
    for name in (name.rstrip("/") for name in headlines(package) if name.endswith("/")):
        own = inside(graph, name)
        graph_drawing.draw(own, made / f"imports_{name}.svg")
        picture = (
            f"```{{image}} made/imports_{name}.svg\n:alt: Modules of {name} and what they import\n:class: drawn\n```"
        )
        sections += [f"### {name}", "", picture, "", module_table(headlines(package / name, own))]
    return "\n".join(sections)


def run_section(run: Path, made: Path) -> str:
    """The section on one stored run: its command, its table as the suite wrote it, its picture.

    Args:
        run: Folder with ``config.json``, ``environment.json``, ``summary.md`` and ``summary.csv`` of a run directory,
            and perhaps ``overlays.png``, ``measures.csv`` and ``page.json`` (what its ``report.html`` shows).
        made: Folder for the picture and the page.
    """
    title, _, table = (run / "summary.md").read_text(encoding="utf-8").partition("\n")
    lines = [f"## Run `{run.name}`", "", title.lstrip("# ") + ".", "", "```console", f"$ {command(run)}", "```", ""]
    # The suite's headings are of the second level; here they are inside a section of that level.
    lines += [
        re.sub("^## (.)", lambda found: f"### {run.name}, {found[1].lower()}", line) for line in table.splitlines()
    ]
    if (run / "overlays.png").exists():
        shutil.copyfile(run / "overlays.png", made / f"{run.name}_overlays.png")
        lines += ["", f"![Films, annotations and maps of the run](made/{run.name}_overlays.png)", ""]
    if (run / "measures.csv").exists():
        lines += ["", f"### {run.name}, other measures", "", *measures_table(run / "measures.csv"), ""]
    if (run / "page.json").exists():
        content = json.loads((run / "page.json").read_text(encoding="utf-8"))
        (made / f"{run.name}_report.html").write_text(report_page(content), encoding="utf-8")
        lines += ["", f"{{download}}`The whole report as one page <made/{run.name}_report.html>`", ""]
    if (run / "environment.json").exists():
        environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        lines += ["", "Environment of the run:", "", "```json", json.dumps(environment, indent=1), "```", ""]
    return unbroken("\n".join(lines))


def unbroken(text: str) -> str:
    """A text in whose narrow columns no line breaks inside an interval."""
    return re.sub(r"\[(-?[\d.]+), (-?[\d.]+)\]", "[\\1,\N{NO-BREAK SPACE}\\2]", text)


def sanity_sections(results: Sequence[Path], made: Path) -> str:
    """What the maps of stored runs follow, a section a run, with the commands that make it.

    Args:
        results: Folders with a ``consistency.csv`` and a ``config.json``, and perhaps ``consistency.png``.
        made: Folder for the pictures.
    """
    if not results:
        return "No result is stored in this version; the command above makes one on your machine.\n"
    lines = []
    for run in results:
        table = pd.read_csv(run / "consistency.csv")
        lines += [f"## Run `{run.name}`", "", "```console", f"$ {command(run)} --out runs/{run.name}"]
        lines += [
            f"$ python -m benchmarks consistency --checkpoint runs/{run.name}",
            "```",
            "",
            *follows_section(table),
        ]
        if (run / "consistency.png").exists():
            shutil.copyfile(run / "consistency.png", made / f"{run.name}_consistency.png")
            lines += [f"![Correlation and accuracy along the cascade](made/{run.name}_consistency.png)", ""]
        _, _, text = consistency_tables(table, {}).partition("## Smoothed or not")
        lines += [re.sub("^## ", f"### {run.name}: ", f"## Smoothed or not{text}", flags=re.MULTILINE), ""]
    return unbroken("\n".join(lines))


def sanity_sentence(results: Sequence[Path]) -> str:
    """What the first page must say of the map that it recommends, from the stored runs that know."""
    sentences = []
    for run in results:
        table = pd.read_csv(run / "consistency.csv")
        verdicts = follows(table).set_index("method")
        if RECOMMENDED in verdicts.index:
            of, (chance,) = verdicts.loc[RECOMMENDED], table.loc[table["method"] == CHANCE, "value"]
            shares = [f"{100 * cell[0]:.0f} %" for cell in (of.drawn_anew, of.trained)]
            sentences.append(
                f"on {shares[0]} of the films of [`{run.name}`](benchmark.md#results) (trained: {shares[1]}, a random "
                f"point: {100 * chance:.0f} %), and follows **{SANITY_WORDS[of.follows]}**"
            )
    if not sentences:
        return "Whether a map follows the weights or the picture is measured, not assumed: see [](sanity.md).\n"
    start = f"With all weights drawn anew the map of `explain` hits the object {within(MAIN_TOLERANCE)} "
    return f"{start}{'; '.join(sentences)}: see [](sanity.md).\n"


SANITY_WORDS = {WEIGHTS: "the weights", PICTURE: "the picture", BOTH: "the weights and the picture", NEITHER: "neither"}


def measures_table(path: Path) -> list[str]:
    """Means of ``measures.csv`` as lines of Markdown, a row for each method and a column for each measure."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    measures = {row["measure"]: row["better"] for row in rows}
    means = {(row["method"], row["measure"]): f"{float(row['value']):.3f}" for row in rows if row["value"]}
    head = ["method", *(f"{measure.replace('_', ' ')} ({better} is better)" for measure, better in measures.items())]
    methods = dict.fromkeys(row["method"] for row in rows)
    return markdown_table([head, *([name, *(means.get((name, of), "") for of in measures)] for name in methods)])


def speed_section(run: Path, made: Path) -> str:
    """What ``python -m benchmarks speed`` wrote, with the command that makes it.

    Args:
        run: Folder with its ``speed.json``, ``speed.md`` and ``speed.png``; it need not exist.
        made: Folder for the figure.
    """
    if not (run / "speed.json").exists():
        return "No measurement is stored in this version; `python -m benchmarks speed` makes one on your machine.\n"
    settings = json.loads((run / "speed.json").read_text(encoding="utf-8"))["settings"]
    flags = {name: settings[name] for name in ("networks", "batch", "image_size", "repeats", "threads")}
    flags["networks"] = ",".join(flags["networks"])
    words = [f"--{name.replace('_', '-')} {value}" for name, value in flags.items()]
    _, _, text = (run / "speed.md").read_text(encoding="utf-8").partition("\n")
    text = re.sub(r"^##", "###", text, flags=re.MULTILINE)
    if (run / "speed.png").exists():
        shutil.copyfile(run / "speed.png", made / "speed.png")
        text = text.replace("](speed.png)", "](made/speed.png)")
    return f"```console\n$ python -m benchmarks speed {' '.join(words)}\n```\n{text}"


def zoo_section(run: Path) -> str:
    """The tables of a stored survey of ``python -m benchmarks zoo``.

    Args:
        run: Folder with its ``zoo.json``; it need not exist.
    """
    if not (run / "zoo.json").exists():
        return "No survey is stored in this version; `python -m benchmarks zoo` makes one on your machine.\n"
    _, _, text = zoo_tables(json.loads((run / "zoo.json").read_text(encoding="utf-8"))).partition("\n")
    return text


def command(run: Path) -> str:
    """The command that makes a run, from its ``config.json``: the preset and what differs from it."""
    from benchmarks.__main__ import build_parser
    from benchmarks.run.config import Config, flag
    from benchmarks.run.presets import PRESETS

    run_parser = build_parser()._subparsers._group_actions[0].choices["run"]
    options = set(run_parser._option_string_actions)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config = config.get("config", config)
    usual = Config().replace(**PRESETS[config["preset"]]).to_dict()
    words = ["python", "-m", "benchmarks", "run", "--preset", config["preset"]]
    for name in sorted(set(config) & set(usual)):
        value = config[name]
        if name in ("preset", "out", "quiet", "threads") or value == usual[name] or value is None:
            continue
        if name == "data":
            value = "DIR"
        if flag(name) not in options:
            raise ExtensionError(f"No command makes the stored run {run.name}: its {name} is not that of the preset.")
        words += [flag(name), ",".join(value) if isinstance(value, list) else str(value)]
    return shlex.join(words)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("builder-inited", make, priority=100)  # before sphinx-gallery, which takes longer
    return {"version": "1", "parallel_read_safe": True}
