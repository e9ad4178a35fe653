"""Runs side by side: accuracies of their common methods, what differs, and whether the runs rank them alike."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console

from benchmarks.analysis.tallies import hit_matrix, main_rows, percentile_interval
from benchmarks.analysis.weighing import RESAMPLES, Weighing
from benchmarks.consistency.paired import paired_differences
from benchmarks.consistency.runs import Run, load_runs
from benchmarks.data.csv_table import read_rows
from benchmarks.methods import METHODS
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_csv, write_text
from benchmarks.run.text_tables import markdown_table, terminal_table, with_interval, within
from normgrad_attr.functional import spearman

KEYS = ["protocol", "tolerance", "method"]
TITLE = "# Runs side by side"
TABLES = ("comparison.csv", "correlation.csv", "paired.csv")
"""Beside ``comparison.md``, whose title tells that they are of a comparison."""
BASELINES = frozenset(name for name, method in METHODS.items() if method.family == "baseline")


def compare(folders: list[Path], out: Path | None = None, without: Path | None = None) -> None:
    """Print runs side by side, and write the same as Markdown and CSV.

    Args:
        folders: run directories with reports or folders of evaluations, two or more; one of several seeds stands for
            its seeds.
        out: folder for ``comparison.md``, ``comparison.csv``, ``correlation.csv`` and, of runs on the same films,
            ``paired.csv``; nothing is written without.
        without: CSV of films that do not count, as the page of a report saves it: a column ``image`` and perhaps more.

    Raises:
        UserError: fewer than two runs, a run without a report, runs with no common method, films that no run has, or a
            folder with files of the user's under these names.
    """
    if out is not None:
        _refuse_files_of_others(out)
    left = frozenset() if without is None else films_of(without)
    runs = load_runs(folders, left)
    if without is not None:
        _check_left_out(without, left, runs)
    if not set.intersection(*(set(run.table["method"]) for run in runs)):
        raise UserError(f"{' and '.join(map(str, folders))} have no method in common: score the same --methods.")
    table, paired, agreement = side_by_side(runs), paired_differences(runs), correlations(runs)
    _print(runs, table, paired, agreement)
    if out is not None:
        # First, as it says whose the others are.
        write_text(out / "comparison.md", markdown(runs, table, paired, agreement))
        for name, content in zip(TABLES, (table, agreement, paired), strict=True):
            if len(content):
                write_csv(out / name, content)
            else:  # else that of an earlier comparison would stay
                (out / name).unlink(missing_ok=True)


def _refuse_files_of_others(out: Path) -> None:
    """Refuse a folder with files of these names that no comparison has written; other files may be there."""
    page = out / "comparison.md"
    try:
        own = page.read_bytes().startswith(TITLE.encode())
    except OSError:  # or gone
        own = False
    others = [path for path in (page, *(out / name for name in TABLES)) if path.exists()]
    if others and not own:
        raise UserError(f"{others[0]} is not of a comparison, so nothing is written: choose another --out.")


def films_of(table: Path) -> frozenset[str]:
    """Names of the films in the first column of a CSV.

    Args:
        table: With a header whose first name is ``image``.

    Raises:
        UserError: The file cannot be read, or has another header or no film.
    """
    if not table.is_file():
        raise UserError(f"--without {table}: there is no such file.")
    rows = read_rows(table)
    if next(rows, (1, [""]))[1][0].strip() != "image":
        raise UserError(f'{table}, row 1: the first column must be called "image".')
    films = frozenset(cells[0].strip() for _, cells in rows)
    if not films:
        raise UserError(f"{table} names no film: leave out --without.")
    return films


def _check_left_out(table: Path, films: frozenset[str], runs: list[Run]) -> None:
    known = {image for run in load_runs([run.folder for run in runs]) for image in run.films}
    if unknown := sorted(films - known):
        raise UserError(f"{table}: no run has an annotated film {unknown[0]}.")
    if any(run.scores.empty for run in runs):
        raise UserError(f"{table} leaves out all annotated films of a run: leave out fewer.")


def side_by_side(runs: list[Run]) -> pd.DataFrame:
    """Accuracies of the methods that all runs share.

    Returns:
        One row for each protocol, tolerance and method with the columns ``protocol``, ``tolerance``, ``method`` and for
        each run ``LABEL``, ``LABEL ci_low``, ``LABEL ci_high``; best mean accuracy first.
    """
    columns = ["accuracy", "ci_low", "ci_high"]
    parts = [
        run.table.set_index(KEYS)[columns].rename(
            columns=lambda c, run=run: run.label if c == "accuracy" else f"{run.label} {c}"
        )
        for run in runs
    ]
    table = pd.concat(parts, axis=1, join="inner").reset_index()
    table["mean"] = table[[run.label for run in runs]].mean(axis=1)
    table = table.sort_values(["protocol", "tolerance", "mean"], ascending=[True, True, False], kind="stable")
    return table.drop(columns="mean").reset_index(drop=True)


def left_out(runs: list[Run]) -> list[str]:
    """Methods that some runs have and others lack, which are not compared."""
    names = [set(run.table["method"]) for run in runs]
    return sorted(set.union(*names) - set.intersection(*names))


def correlations(runs: list[Run]) -> pd.DataFrame:
    """Spearman's correlation of the accuracies of each pair of runs, over their common methods.

    The interval comes from drawing the films of both runs anew, each run by itself: how far the
    correlation depends on which films were in the test splits. To draw adds noise to accuracies, which lowers
    correlations, so it leans down.

    Returns:
        One row for each pair, protocol, tolerance and choice of methods with the columns ``run_a``,
        ``run_b``, ``protocol``, ``tolerance``, ``methods`` (``"all"`` or ``"no baselines"``), ``n``, ``rho``,
        ``ci_low``, ``ci_high``; NaN where there are fewer than three methods or all are equal.
    """

    @cache
    def resampled(number: int, protocol: str, tolerance: int) -> pd.DataFrame:
        """Accuracies of a run, resamples x methods."""
        hits = hit_matrix(runs[number].scores, protocol, tolerance)
        means = Weighing.of(hits.index, runs[number].questions).resampled(hits.to_numpy(), seed=number)
        return pd.DataFrame(means, columns=hits.columns)

    rows = []
    for pair in itertools.combinations(range(len(runs)), 2):
        a, b = (runs[number] for number in pair)
        joined = a.table.merge(b.table, on=KEYS, suffixes=("_a", "_b"))
        for (protocol, tolerance), group in joined.groupby(["protocol", "tolerance"]):
            draws = [resampled(number, protocol, tolerance) for number in pair]
            for choice in ("all", "no baselines"):
                chosen = group if choice == "all" else group[~group["method"].isin(BASELINES)]
                value = rho(chosen["accuracy_a"].to_numpy(float), chosen["accuracy_b"].to_numpy(float))
                low, high = _interval([frame.reindex(columns=chosen["method"]) for frame in draws])
                rows.append((a.label, b.label, protocol, tolerance, choice, len(chosen), value, low, high))
    columns = ["run_a", "run_b", "protocol", "tolerance", "methods", "n", "rho", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def rho(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation; NaN with fewer than three pairs or without any spread."""
    return float(spearman(torch.tensor(a[None]), torch.tensor(b[None]))) if len(a) > 2 else float("nan")


def _interval(draws: list[pd.DataFrame]) -> tuple[float, float]:
    """95 % percentile interval of the correlation; NaN with fewer than three methods."""
    if any(frame.shape[1] < 3 or frame.isna().any(axis=None) for frame in draws):
        return float("nan"), float("nan")
    return percentile_interval(spearman(*(torch.tensor(frame.to_numpy()) for frame in draws)).numpy())


def markdown(runs: list[Run], table: pd.DataFrame, paired: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """The comparison as Markdown."""
    lines = [TITLE, "", *markdown_table(_facts(runs)), ""]
    for (protocol, tolerance), group in table.groupby(["protocol", "tolerance"]):
        lines += [f"## Protocol `{protocol}`, {within(int(tolerance))}", ""]
        lines += [f"Accuracy in percent [95 % interval over {_drawn(runs)}].", ""]
        lines += [*markdown_table(_accuracies(runs, group)), ""]
    if missing := left_out(runs):
        lines += [f"Not in all runs, so not compared: {', '.join(f'`{name}`' for name in missing)}.", ""]
    for (a, b), group in main_rows(paired).groupby(["run_a", "run_b"], sort=False):
        lines += [f"## Whose maps point better, {a} or {b}?", "", f"{_paired_note(runs, str(a), str(b))}", ""]
        lines += [*markdown_table(_differences(group)), ""]
    lines += ["## Do the runs rank the methods alike?", "", _agreement_note(runs), ""]
    return "\n".join([*lines, *markdown_table(_agreement(agreement)), ""])


def _paired_note(runs: list[Run], a: str, b: str) -> str:
    alike = "" if _rows(runs) == "films" else " All questions count alike in the test, whatever their class."
    return (
        f"Accuracy in {a} less that in {b}, in points [95 % bootstrap interval over {_drawn(runs)}], on the same "
        f"{_rows(runs)}; protocol `{MAIN_PROTOCOL}`, {within(MAIN_TOLERANCE)}. McNemar's exact test, corrected by Holm "
        f"for the number of methods.{alike} paired.csv has the others."
    )


def _differences(group: pd.DataFrame) -> list[list[str]]:
    rows = [["method", "difference, points", "only the first hits", "only the second", "p (Holm)", "differs"]]
    for row in group.sort_values("difference", ascending=False, kind="stable").itertuples():
        interval = with_interval((row.difference, row.ci_low, row.ci_high), 1, 100, sign=True)
        verdict = "yes" if row.differs else "not shown"
        rows.append([str(row.method), interval, f"{row.only_a}", f"{row.only_b}", f"{row.p_holm:.3g}", verdict])
    return rows


def _agreement_note(runs: list[Run]) -> str:
    return (
        "Spearman's correlation of the accuracies of the common methods (1: the same order; 0: unrelated); the "
        f"interval is from {RESAMPLES} resamples of the {_drawn(runs)} of both runs. Resamples are noisier than the "
        "runs, which lowers their correlations: it leans down, and may keep below 1 where methods rank alike."
    )


def _drawn(runs: list[Run]) -> str:
    """What is drawn together, in resamples and in tests."""
    return "films" if _rows(runs) == "films" else "images"


def _rows(runs: list[Run]) -> str:
    return "films" if all(run.questions is None for run in runs) else "questions"


def _facts(runs: list[Run]) -> list[list[str]]:
    names = dict.fromkeys(name for run in runs for name in run.about)
    rows = [["", *(run.label for run in runs)], *([name, *(run.about.get(name, "") for run in runs)] for name in names)]
    if runs[0].without:
        rows.append(["left out of them", *(str(run.facts.images - run.scores["image"].nunique()) for run in runs)])
    for tolerance in runs[0].facts.chance:
        shares = [run.facts.chance.get(tolerance) for run in runs]
        name = f"chance {within(int(tolerance))}{' (nothing left out)' if runs[0].without else ''}"
        rows.append([name, *("" if share is None else f"{100 * share:.1f}" for share in shares)])
    return rows


def _accuracies(runs: list[Run], group: pd.DataFrame) -> list[list[str]]:
    rows = [["method", *(run.label for run in runs)]]
    for _, entry in group.iterrows():
        cells = [[entry[f"{run.label}{end}"] for end in ("", " ci_low", " ci_high")] for run in runs]
        rows.append([str(entry["method"]), *(with_interval(cell, 1, 100) for cell in cells)])
    return rows


def _agreement(agreement: pd.DataFrame) -> list[list[str]]:
    rows = [["runs", "protocol", "tolerance", "methods", "n", "Spearman's rho"]]
    for entry in agreement.itertuples():
        value = "undefined" if np.isnan(entry.rho) else f"{entry.rho:.2f}"
        interval = "" if np.isnan(entry.ci_low) else f" [{entry.ci_low:.2f}, {entry.ci_high:.2f}]"
        pair = f"{entry.run_a}, {entry.run_b}"
        rows.append([pair, entry.protocol, within(entry.tolerance), entry.methods, str(entry.n), value + interval])
    return rows


def _print(runs: list[Run], table: pd.DataFrame, paired: pd.DataFrame, agreement: pd.DataFrame) -> None:
    console = Console()
    console.print(terminal_table("Runs", _facts(runs)))
    for (protocol, tolerance), group in table.groupby(["protocol", "tolerance"]):
        if tolerance == MAIN_TOLERANCE:
            title = f"Accuracy in % [95 % interval], {within(MAIN_TOLERANCE)}, protocol {protocol}"
            rows = _accuracies(runs, group)
            if len(runs) > 2:  # 80 columns have no room for more intervals
                rows = [[text.partition(" [")[0] for text in row] for row in rows]
            console.print(terminal_table(title.replace(" [95 % interval]", "") if len(runs) > 2 else title, rows))
    for (a, b), group in main_rows(paired).groupby(["run_a", "run_b"], sort=False) if len(runs) == 2 else ():
        title = f"{a} less {b} on the same {_rows(runs)}, {within(MAIN_TOLERANCE)}, protocol {MAIN_PROTOCOL}"
        rows = [[row[i] for i in (0, 1, 4, 5)] for row in _differences(group)]
        console.print(terminal_table(title, rows))
    if missing := left_out(runs):
        console.print(f"Not in all runs, so not compared: {', '.join(missing)}.", markup=False)
    console.print(terminal_table("Do the runs rank the methods alike?", _agreement(agreement)))
