"""The report of several seeds: means over films and seeds, what holds over seeds, and how good each classifier is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from benchmarks.analysis.by_verdict import by_verdict, missed_share
from benchmarks.analysis.hierarchical import differences, summarise_seeds
from benchmarks.analysis.measure_table import TABLE_COLUMNS, in_order, mean_table, overlap_values
from benchmarks.analysis.tallies import main_rows
from benchmarks.analysis.weighing import RESAMPLES
from benchmarks.consistency.runs import Run, check_repetitions, load_runs
from benchmarks.methods import METHODS
from benchmarks.metrics.frame import FRAME
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE, PROTOCOLS, TOLERANCES
from benchmarks.report.assemble import PROTOCOL_NOTES, is_current, narrow, ranked
from benchmarks.report.seeds_page import write_seeds_page
from benchmarks.report.verdict_tables import verdict_cells, verdict_note
from benchmarks.run.config import Config
from benchmarks.run.files import file_digest, write_csv, write_json, write_text
from benchmarks.run.stored import read_json
from benchmarks.run.text_tables import markdown_table, terminal_table, with_interval, within
from normgrad_attr import __version__


def report_seeds(config: Config) -> None:
    """Write tables, ``summary.md``, ``report.html`` and ``summary.json`` into the folder of all seeds, and print them.

    The tables are ``summary.csv``, ``summary_verdicts.csv``, ``differences.csv``, ``seeds.csv`` and, where the seeds
    are measured, ``measures.csv``.

    Args:
        config: Of several seeds that are reported each by itself.

    Raises:
        UserError: A seed has no report, or was made from other films or settings.
    """
    runs = load_runs([one.out for one in config.of_each_seed()])
    check_repetitions(runs)
    shown = [*(run.folder / "summary.json" for run in runs), config.out / "consistency.csv"]
    made_of = hashlib.sha256(repr([__version__, *map(file_digest, shown)]).encode())
    if is_current(config.out, made_of.hexdigest()):
        print(f"{config.out}: the tables over seeds show these results already; nothing to do.")
        return
    scores, order = [run.scores for run in runs], list(METHODS)
    table = summarise_seeds(scores, config.seed, order)
    pairs = differences(scores, config.seed, order)
    verdicts = by_verdict(scores, config.seed, order)
    seeds = classifiers(runs, scores)
    chance = runs[0].facts.chance  # the same annotations for all
    text = markdown(config, runs[0], table, pairs, verdicts, seeds)
    tables = {"summary.csv": table, "summary_verdicts.csv": verdicts, "differences.csv": pairs, "seeds.csv": seeds}
    if all(run.measures is not None for run in runs):
        tables["measures.csv"] = measures(runs, scores, config.seed)
    for name, content in tables.items():
        write_csv(config.out / name, content)
    write_text(config.out / "summary.md", text)
    write_json(config.out / "environment.json", _environment(runs))
    write_seeds_page(config, scores, tables, chance)
    summary = {
        "classifier": {"auc": float(seeds["auc"].mean()), "accuracy": float(seeds["accuracy"].mean()), "split": "test"},
        "images": int(table["images"].iloc[0]),
        "truth": runs[0].facts.truth,
        "chance": chance,
        "drawn_from": made_of.hexdigest(),
        "files": {
            name: file_digest(config.out / name) for name in (*tables, "summary.md", "environment.json", "report.html")
        },
    }
    write_json(config.out / "summary.json", summary)
    _print(table, seeds, chance)
    print(f"{config.out / 'report.html'} shows all of this; each seed has one of its own, film by film.")


def classifiers(runs: Sequence[Run], scores: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """How good the classifier of each seed is.

    Returns:
        Columns ``seed``, ``auc`` and ``accuracy`` on the test films, and ``missed``, the share of the annotated films
        that it calls clean.
    """
    facts = [run.classifier for run in runs]
    return pd.DataFrame(
        {
            "seed": [run.settings["seed"] for run in runs],
            "auc": [one.auc for one in facts],
            "accuracy": [one.accuracy for one in facts],
            "missed": missed_share(scores),
        }
    )


def measures(runs: Sequence[Run], scores: Sequence[pd.DataFrame], seed: int) -> pd.DataFrame:
    """Means of the further measures, with the columns of ``measures.csv``.

    FROC is no mean over films: its value is the mean over seeds, and it has no interval.
    """
    films = scores[0]["image"].nunique()
    own = [pd.DataFrame() if run.measures is None else run.measures for run in runs]
    complete = set.intersection(*(set(table["method"]) for table in own))
    both = [
        pd.concat([overlap_values(table, films), run.film_measures]) for run, table in zip(runs, scores, strict=True)
    ]
    table = mean_table([one[one["method"].isin(complete)] for one in both], seed)
    every = pd.concat(own)
    froc = every[(every["measure"] == "froc") & every["method"].isin(complete)]
    mean = froc.groupby("method", sort=False, as_index=False).agg(
        {"value": "mean", "films": "first", "better": "first"}
    )
    return in_order(pd.concat([table, mean.assign(measure="froc")], ignore_index=True)[list(TABLE_COLUMNS)])


def cells(table: pd.DataFrame, protocol: str, chance: dict[str, float]) -> list[list[str]]:
    """The table of one protocol as text, a header first, chance last."""
    table = table[table["protocol"] == protocol]
    by_key = table.set_index(["method", "tolerance"])
    spread = f"over seeds, {within(MAIN_TOLERANCE)}"
    result = [["method", *map(within, TOLERANCES), f"SD {spread}", f"range {spread}", "s/image"]]
    for method in ranked(table):
        rows = [by_key.loc[(method, tolerance)] for tolerance in TOLERANCES]
        main = by_key.loc[(method, MAIN_TOLERANCE)]
        extent = f"{100 * main.lowest:.1f} to {100 * main.highest:.1f}"
        means = [with_interval((row.accuracy, row.ci_low, row.ci_high), 1, 100) for row in rows]
        result.append([method, *means, f"{100 * main.sd:.1f}", extent, f"{main.seconds_per_image:.3f}"])
    return [*result, ["(chance)", *(f"{100 * chance[str(t)]:.1f}" for t in TOLERANCES), "", "", ""]]


def holding(pairs: pd.DataFrame, order: Sequence[str]) -> list[list[str]]:
    """What holds over seeds of each method, a header first.

    Args:
        pairs: Of one protocol and tolerance, as of :func:`benchmarks.analysis.hierarchical.differences`.
        order: The methods, the best first.
    """
    held = pairs[pairs["holds"]]
    rows = [["method", "better than", "worse than", "not told apart from"]]
    for method in order:
        better = int((held["better"] == method).sum())
        worse = int((held["worse"] == method).sum())
        beside = pairs[~pairs["holds"] & ((pairs["better"] == method) | (pairs["worse"] == method))]
        others = [b if a == method else a for a, b in zip(beside["better"], beside["worse"], strict=True)]
        shown = ", ".join(f"`{name}`" for name in others[:4]) + (f" and {len(others) - 4} more" if others[4:] else "")
        rows.append([method, str(better), str(worse), shown or "none"])
    return rows


def markdown(
    config: Config, run: Run, table: pd.DataFrame, pairs: pd.DataFrame, verdicts: pd.DataFrame, seeds: pd.DataFrame
) -> str:
    """The report as Markdown."""
    images, count = table["images"].iloc[0], len(seeds)
    lines = [
        f"# Pointing Game on {images} annotated test films, {count} seeds",
        "",
        f"Classifier {config.arch} at {config.image_size} x {config.image_size}, trained {count} times:",
        "",
        *markdown_table(_seed_cells(seeds), left=()),
        "",
        f"Accuracy in percent, the mean over seeds with its 95 % interval over films and seeds ({RESAMPLES} resamples "
        "of both; see the documentation on how few seeds widen it): the maximum of the map for the predicted class "
        f"lies in an annotated {run.facts.truth}, or closer than the tolerance to it, in a frame of {FRAME} x {FRAME} "
        "pixels. Chance is what a uniformly random point scores. Seconds are the median over batches and seeds.",
        "",
    ]
    for protocol in reversed(PROTOCOLS):
        lines += [f"## Protocol `{protocol}`", "", PROTOCOL_NOTES[protocol] + ".", ""]
        lines += [*markdown_table(cells(table, protocol, run.facts.chance)), ""]
    order = ranked(table[table["protocol"] == MAIN_PROTOCOL])
    lines += [
        "## Which differences hold over seeds",
        "",
        f"Protocol `{MAIN_PROTOCOL}`, {within(MAIN_TOLERANCE)}: of how many methods each is the better or the worse in "
        "every seed, with an interval of the mean difference that leaves out 0. `differences.csv` has all pairs.",
        "",
        *markdown_table(holding(main_rows(pairs), order), left=(0, 3)),
        "",
        "## By the classifier's verdict",
        "",
        verdict_note(seeds["missed"].mean()),
        "",
        *markdown_table(verdict_cells(verdicts, MAIN_PROTOCOL, order)),
        "",
    ]
    return "\n".join(lines)


def _seed_cells(seeds: pd.DataFrame) -> list[list[str]]:
    rows = [["seed", "AUC", "accuracy", "annotated films it misses, %"]]
    rows += [[f"{s.seed}", f"{s.auc:.4f}", f"{s.accuracy:.3f}", f"{100 * s.missed:.1f}"] for s in seeds.itertuples()]
    means = seeds[["auc", "accuracy", "missed"]].mean()
    return [*rows, ["mean", f"{means.auc:.4f}", f"{means.accuracy:.3f}", f"{100 * means.missed:.1f}"]]


def _environment(runs: Sequence[Run]) -> dict[str, Any]:
    """What the machines and versions of all seeds have in common."""
    facts = [read_json(path) for run in runs if (path := run.folder / "environment.json").is_file()]
    return (
        {name: value for name, value in facts[0].items() if all(f.get(name) == value for f in facts)} if facts else {}
    )


def _print(table: pd.DataFrame, seeds: pd.DataFrame, chance: dict[str, float]) -> None:
    console = Console()
    console.print(terminal_table("Classifiers", _seed_cells(seeds), footer=True))
    for protocol in reversed(PROTOCOLS):
        title = f"Accuracy in %, mean over {len(seeds)} seeds [95 % interval over films and seeds], protocol {protocol}"
        console.print(terminal_table(title, narrow(cells(table, protocol, chance)), footer=True))
