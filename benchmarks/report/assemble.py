"""The report of a run: table in the terminal, as CSV, Markdown and JSON, and the picture of overlays."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from benchmarks.analysis.tallies import mean_chance, status_counts, summarise
from benchmarks.data.kinds import kinds_table
from benchmarks.data.object_cxr import locate
from benchmarks.methods import METHODS, select_methods
from benchmarks.metrics.frame import FRAME
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE, PROTOCOLS, TOLERANCES
from benchmarks.report.overlays import draw_overlays
from benchmarks.report.page import write_html
from benchmarks.report.results import Results, read_results
from benchmarks.report.step_tables import TABLES, mend_tables
from benchmarks.report.subject import Subject, of_run
from benchmarks.report.verdict_tables import verdict_cells, verdict_note
from benchmarks.run.config import OPEN, Config
from benchmarks.run.files import file_digest, write_csv, write_json, write_text
from benchmarks.run.step_times import StepTime, step_times
from benchmarks.run.stored import DamagedError, Summary, read_json
from benchmarks.run.text_tables import counted, markdown_table, terminal_table, with_interval, within
from benchmarks.scoring.job import Job
from benchmarks.scoring.score import open_job, write_scores
from normgrad_attr import __version__

FIGURES = ("ranking", "cost", "froc", "breakdown_*")
FILES = (
    "scores*.parquet", "summary.csv", "summary.md", "summary_verdicts.csv", "significance.csv", "breakdown.csv",
    "tables.md", "overlays.png", "report.html", *(f"{figure}.{kind}" for figure in FIGURES for kind in ("png", "svg")),
)  # fmt: skip
"""What a report writes, beside ``summary.json``."""
PROTOCOL_NOTES = {
    "fair": "maps as they are; ties are resolved by chance at a fixed seed",
    "paper": "maps of gradient methods are clipped at the 99th percentile; of several maxima the first counts",
}


def report(config: Config) -> None:
    """Write ``summary.csv``, ``summary.md``, ``summary.json``, ``overlays.png``, ``report.html`` and print the table.

    Args:
        config: of a run with scores.

    Raises:
        UserError: there are no complete scores under this configuration.
    """
    job = open_job(config)
    results = read_results(config, job)
    write_scores(config, results.state, [results.scores], [results.true_scores])
    mend_tables(config)
    table = summarise(results.scores, list(METHODS))
    write_report(config, job, results, of_run(config, job, results), table)


def write_report(config: Config, job: Job, results: Results, subject: Subject, table: pd.DataFrame) -> None:
    """Write and print the report of results that are there.

    Args:
        config: Where to, and what was asked for.
        job: Network and films.
        results: The scores.
        subject: What they are about.
        table: Of accuracies, with the columns of ``summary.csv``.
    """
    scores = results.scores
    content = {
        **subject.content,
        "images": len(job.positives),
        "frame": FRAME,
        "truth": config.scoring.truth,
        "chance": {
            str(tolerance): level for tolerance, level in mean_chance(results.chance, subject.questions).items()
        },
        "methods_that_could_not_run": results.failures,
        "maps": {protocol: status_counts(scores, protocol).to_dict(orient="index") for protocol in PROTOCOLS},
        "rows": table.to_dict(orient="records"),
    }
    # Before it is read: what another process writes meanwhile is for the next report.
    drawn_from = results_digest(config)
    write_csv(config.out / "summary.csv", table)
    if subject.by_verdict is not None:
        write_csv(config.out / "summary_verdicts.csv", subject.by_verdict)
    write_text(config.out / "summary.md", markdown(content, subject, config.scoring.truth))
    drawn = [method for method in select_methods(config.scoring.methods) if method.name in results.complete]
    draw_overlays(job, drawn, results, subject, config.out / "overlays.png", config.cache_dir / "overlays")
    write_html(config, job, content, results, subject)
    files = {path.name: file_digest(path) for pattern in FILES for path in sorted(config.out.glob(pattern))}
    # Last, as all else is there.
    write_json(config.out / "summary.json", {**content, "drawn_from": drawn_from, "files": files})
    print_table(content, subject)
    print_steps(step_times(config.out))
    print(f"report.html shows all of this, and {subject.unit} by {subject.unit}.")


def is_current(folder: Path, made_of: str) -> bool:
    """Whether the report in a run directory is whole, and made from the results that are there now by this version.

    Where a file is gone or is not what was written, a line says so.

    Args:
        folder: The run directory.
        made_of: Digest of these results.
    """
    path = folder / "summary.json"
    if not path.exists():
        return False
    try:
        summary: Summary = read_json(path, Summary, "the report is made again")
    except DamagedError as error:
        print(error)
        return False
    damaged = [name for name, digest in summary.files.items() if file_digest(folder / name) != digest]
    for name in damaged:
        print(f"{folder / name} is gone or damaged; the report is made again.")
    return not damaged and bool(summary.files) and summary.drawn_from == made_of


def results_digest(config: Config) -> str:
    """Digest of all that a report shows."""
    names = (__version__, *(method.name for method in select_methods(config.scoring.methods)))
    results = ("environment.json", "scores.parquet", "scores_true.parquet", *TABLES)
    paths = [config.classifier_dir / "classifier.json", *(config.out / name for name in results)]
    if config.preset != OPEN:
        paths.append(kinds_table(locate(config.data_root, "test")[0]))
    return hashlib.sha256(repr((names, [file_digest(path) for path in paths])).encode()).hexdigest()


def ranked(table: pd.DataFrame) -> list[str]:
    """Methods of one protocol, the best at the main tolerance first."""
    main = table[table["tolerance"] == MAIN_TOLERANCE]
    return list(main.sort_values("accuracy", ascending=False, kind="stable")["method"])


def cells(content: dict[str, Any], protocol: str) -> list[list[str]]:
    """The table of one protocol as text, a header first, chance last."""
    table = pd.DataFrame(content["rows"])
    table = table[table["protocol"] == protocol].set_index(["method", "tolerance"])
    maps = content["maps"][protocol]
    result = [["method", *map(within, TOLERANCES), "s/image", "constant", "not finite"]]
    for method in ranked(table.reset_index()):
        row = [method]
        for tolerance in TOLERANCES:
            entry = table.loc[(method, tolerance)]
            row.append(with_interval((entry.accuracy, entry.ci_low, entry.ci_high), 1, 100))
        row += [f"{entry.seconds_per_image:.3f}", str(maps[method]["constant"]), str(maps[method]["non_finite"])]
        result.append(row)
    result.append(["(chance)", *(f"{100 * content['chance'][str(t)]:.1f}" for t in TOLERANCES), "", "", ""])
    return result


def markdown(content: dict[str, Any], subject: Subject, truth: str) -> str:
    """The report as Markdown."""
    drawn, of = ("films", "the predicted class") if subject.questions is None else ("images", "the class asked for")
    lines = [
        f"# {subject.title}",
        "",
        *subject.lines,
        "",
        f"Accuracy in percent with its 95 % interval over {drawn} (Wilson's): the maximum of the map for {of} lies in "
        f"an annotated {truth}, or closer than the tolerance to it, in a frame of {content['frame']} x "
        f"{content['frame']} pixels. Chance is what a uniformly random point scores. Seconds are the median over "
        f"batches, and methods that share a pass pay equal shares of it; {_cost(content, subject)}.",
        "",
    ]
    for protocol in reversed(PROTOCOLS):
        lines += [
            f"## Protocol `{protocol}`",
            "",
            PROTOCOL_NOTES[protocol] + ".",
            "",
            *markdown_table(cells(content, protocol)),
            "",
        ]
    if subject.by_verdict is not None:
        order = ranked(pd.DataFrame(content["rows"]).query("protocol == @MAIN_PROTOCOL"))
        lines += ["## By the classifier's verdict", "", verdict_note(content["classifier"]["missed"]), ""]
        lines += [*markdown_table(verdict_cells(subject.by_verdict, MAIN_PROTOCOL, order)), ""]
    if content["methods_that_could_not_run"]:
        lines += ["## Methods that could not run", ""]
        lines += [f"- `{method}`: {reason}" for method, reason in content["methods_that_could_not_run"].items()]
        lines.append("")
    return "\n".join(lines)


def narrow(rows: list[list[str]]) -> list[list[str]]:
    """A table of accuracies for 80 columns: without the last two, and with the interval at the main tolerance only."""
    head, *body = (row[:-2] for row in rows)
    keep = (0, 1 + TOLERANCES.index(MAIN_TOLERANCE))
    short = [name.removeprefix("within ").partition(" over")[0] for name in head]
    return [short, *([text if i in keep else text.partition(" [")[0] for i, text in enumerate(row)] for row in body)]


def print_table(content: dict[str, Any], subject: Subject) -> None:
    """Print the table to the terminal."""
    console = Console()
    for protocol in reversed(PROTOCOLS):
        title = f"{subject.title}, accuracy in % [95 % interval], protocol {protocol}"
        console.print(terminal_table(title, narrow(cells(content, protocol)), footer=True))
    console.print(f"{_cost(content, subject).capitalize()}.")
    for method, counts in content["maps"][MAIN_PROTOCOL].items():
        if any(counts.values()):
            console.print(f"{method}: {counted(counts['constant'], 'constant map')}, {counts['non_finite']} not finite")
    for method, reason in content["methods_that_could_not_run"].items():
        console.print(f"{method} could not run: {reason}", markup=False)


def print_steps(times: dict[str, StepTime]) -> None:
    """Print how long the steps of the run took so far, all starts together."""
    if times:
        rows = [[name, f"{of.wall:.0f}", f"{of.cpu:.0f}", str(of.starts)] for name, of in times.items()]
        head = ["step", "seconds", "of processors", "starts"]
        Console().print(terminal_table("What the run took so far", [head, *rows]))


def _cost(content: dict[str, Any], subject: Subject) -> str:
    seconds = {row["method"]: row["seconds_per_image"] for row in content["rows"]}
    together = "the method takes" if len(seconds) == 1 else f"the {len(seconds)} methods together take"
    return f"{together} {sum(seconds.values()):.1f} s for a {subject.unit}"
