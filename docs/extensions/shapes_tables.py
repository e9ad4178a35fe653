"""The tables of the page on class sensitivity, from stored runs of the preset ``shapes``."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from benchmarks.consistency.variants import ALL, HEAD
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.text_tables import markdown_table, within


def shapes_section(runs: Path) -> str:
    """The command, how well the networks know the shapes, and the table.

    Args:
        runs: Folder with ``evaluation.json`` and ``by_class.csv`` of one evaluation, and for the network of each seed a
            folder with ``network.json``, ``summary.csv``, ``grid.csv`` and ``measures.csv``.
    """
    if not (runs / "evaluation.json").exists():
        return "No run is stored in this version; the command above makes one on your machine.\n"
    asked = json.loads((runs / "evaluation.json").read_text(encoding="utf-8"))
    folders = sorted(path.parent for path in runs.glob("*/network.json"))
    networks = [json.loads((folder / "network.json").read_text(encoding="utf-8")) for folder in folders]
    accuracy = [100 * network["mean_accuracy"] for network in networks]
    precision = min(network["mean_average_precision"] for network in networks)
    lines = [
        "```console",
        f"$ for seed in {' '.join(folder.name for folder in folders)}; do",
        "    python -m benchmarks evaluate --preset shapes --seed $seed \\",
        f"        --methods {','.join(asked['methods'])}",
        "  done",
        "```",
        "",
        f"{len(networks)} networks, each from a seed of its own. On {networks[0]['pictures']} pictures that they have "
        f"not seen they say for {min(accuracy):.1f} to {max(accuracy):.1f} % whether a kind is there, with a mean "
        f"average precision of at least {precision:.3f}. {asked['questions']} questions, each a picture and a kind on "
        "it: share of the maxima inside of the shape, in %, the mean over kinds; of the networks the mean, the lowest "
        "and the highest, and on how many a method is the best. Beside it means of the Grid Pointing Game and of two "
        "measures.",
        "",
        *_table(runs, folders),
        "",
    ]
    return "\n".join(lines)


def _table(runs: Path, folders: list[Path]) -> list[str]:
    """One row a method, the best first: accuracy, the grid, and what else is measured, over networks."""
    inside, near = (_over_networks(folders, tolerance) for tolerance in (0, MAIN_TOLERANCE))
    grid = pd.concat([pd.read_csv(folder / "grid.csv") for folder in folders]).groupby("method")
    grids = grid[["maximum", "energy", "difull"]].mean()
    measures = pd.concat([pd.read_csv(folder / "measures.csv") for folder in folders])
    of = measures.groupby(["method", "measure"])["value"].mean()
    head = ["method", within(0), "lowest", "highest", "networks where it is best", within(MAIN_TOLERANCE)]
    rows = [[*head, "grid: maximum", "grid: energy", "DiFull", "insertion", "deletion"]]
    best = inside.idxmax().value_counts()
    for method in inside.mean(axis=1).sort_values(ascending=False).index:
        own = inside.loc[method]
        shares = [f"{100 * share:.1f}" for share in (own.mean(), own.min(), own.max())]
        further = [near.loc[method].mean(), *grids.loc[method]]
        shown = ["" if pd.isna(number) else f"{100 * number:.1f}" for number in further]
        tail = [f"{of[method, name]:.3f}" for name in ("insertion", "deletion")]
        rows.append([f"`{method}`", *shares, str(best.get(method, 0)), *shown, *tail])
    by_class = pd.read_csv(runs / "by_class.csv").drop_duplicates(["class", "tolerance"])
    chance = by_class.groupby("tolerance")["chance"].mean()
    cell = f"{100 * grid['chance'].first().iloc[0]:.1f}"
    shown = [f"{100 * chance[tolerance]:.1f}" for tolerance in (0, MAIN_TOLERANCE)]
    rows.append(["(chance)", shown[0], "", "", "", shown[1], cell, cell, "", "", ""])
    return markdown_table(rows)


def _over_networks(folders: list[Path], tolerance: int) -> pd.DataFrame:
    """Accuracies, methods x networks."""
    columns = []
    for folder in folders:
        table = pd.read_csv(folder / "summary.csv")
        chosen = table[(table["protocol"] == MAIN_PROTOCOL) & (table["tolerance"] == tolerance)]
        columns.append(chosen.set_index("method")["accuracy"].rename(folder.name))
    return pd.concat(columns, axis=1)


COSTS = {
    **{f"accuracy, {within(tolerance)}": ("summary", tolerance, "higher") for tolerance in (0, MAIN_TOLERANCE)},
    "energy": ("measures", "energy", "higher"),
    "insertion": ("measures", "insertion", "higher"),
    "deletion": ("measures", "deletion", "lower"),
    "FROC": ("measures", "froc", "higher"),
    "class sensitivity": ("measures", "class_sensitivity", "lower"),
    "rank correlation with the head drawn anew": ("consistency", HEAD, "lower"),
    "rank correlation with all weights drawn anew": ("consistency", ALL, "lower"),
}
"""By what stands in the table: the file of a run, what chooses a row for each method, and which values are better."""
COMPARED = ("grad_cam", "normgrad_conv1x1_combined", "normgrad_class_sensitive_combined")


def costs_section(run: Path) -> str:
    """What the class-sensitive recipe gains and loses on the chest films of the default set.

    Args:
        run: Folder with ``summary.csv``, ``measures.csv`` and ``consistency.csv``.
    """
    if not (run / "consistency.csv").exists():
        return ""
    summary, measures, consistency = (pd.read_csv(run / f"{of}.csv") for of in ("summary", "measures", "consistency"))
    summary = summary[summary["protocol"] == MAIN_PROTOCOL]
    consistency = consistency[(consistency["check"] == "randomised") & (consistency["measure"] == "rank_correlation")]
    values = {
        "summary": summary.set_index(["tolerance", "method"])["accuracy"],
        "measures": measures.set_index(["measure", "method"])["value"],
        "consistency": consistency.set_index(["variant", "method"])["value"],
    }
    head = ["measure", "better", *(f"`{name}`" for name in COMPARED)]
    rows = [
        [words, better, *(f"{values[table][key, name]:.3f}" for name in COMPARED)]
        for words, (table, key, better) in COSTS.items()
    ]
    return "\n".join([*markdown_table([head, *rows], left=(0, 1)), ""])
