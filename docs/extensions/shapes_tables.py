"""The tables of the page on class sensitivity, from a stored run of the preset ``shapes``."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from benchmarks.consistency.variants import ALL, HEAD
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.text_tables import markdown_table, within
from benchmarks.shapes.outlines import KINDS


def shapes_section(run: Path) -> str:
    """The command, how well the network knows the shapes, and the tables.

    Args:
        run: Folder with ``evaluation.json``, ``network.json``, ``summary.csv``, ``by_class.csv``, ``grid.csv`` and
            ``measures.csv``.
    """
    if not (run / "evaluation.json").exists():
        return "No run is stored in this version; the command above makes one on your machine.\n"
    asked = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    network = json.loads((run / "network.json").read_text(encoding="utf-8"))
    accuracy, worst = network["mean_accuracy"], min(network["accuracy"].values())
    lines = [
        "```console",
        f"$ python -m benchmarks evaluate --preset shapes --methods {','.join(asked['methods'])}",
        "```",
        "",
        f"On {network['pictures']} pictures that it has not seen the network says for {100 * accuracy:.1f} % whether a "
        f"kind is there ({100 * worst:.1f} % for the hardest kind), with a mean average precision of "
        f"{network['mean_average_precision']:.3f}. {asked['questions']} questions, each a picture and a kind that is "
        "on it: share of the maxima inside of the shape, in %. Beside it the Grid Pointing Game.",
        "",
        *_table(run),
        "",
    ]
    return "\n".join(lines)


def _table(run: Path) -> list[str]:
    """One row a method: accuracy by class, the grid, and what else is measured; the best by class first."""
    summary, by_class, grid = (pd.read_csv(run / f"{name}.csv") for name in ("summary", "by_class", "grid"))
    chosen = [_of_protocol(table) for table in (summary, by_class)]
    mean = chosen[0].set_index("method")["accuracy"].sort_values(ascending=False)
    kinds = chosen[1].pivot(index="method", columns="class", values="accuracy")
    of = pd.read_csv(run / "measures.csv").pivot(index="method", columns="measure", values="value")
    grid = grid.set_index("method")
    head = ["method", "mean", *KINDS, "grid: maximum", "grid: energy", "DiFull", "insertion", "deletion"]
    rows = [head]
    for method in mean.index:
        numbers = [mean[method], *(kinds.loc[method, kind] for kind in KINDS)]
        numbers += [grid.loc[method, column] for column in ("maximum", "energy", "difull")]
        shown = ["" if pd.isna(number) else f"{100 * number:.1f}" for number in numbers]
        rows.append([f"`{method}`", *shown, *(f"{of.loc[method, name]:.3f}" for name in ("insertion", "deletion"))])
    chance = chosen[1].drop_duplicates("class").set_index("class")["chance"]
    cell = 100 * grid["chance"].iloc[0]
    shown = [f"{100 * number:.1f}" for number in (chance.mean(), *(chance[kind] for kind in KINDS))]
    rows.append(["(chance)", *shown, f"{cell:.1f}", f"{cell:.1f}", "", "", ""])
    return markdown_table(rows)


def _of_protocol(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["protocol"] == MAIN_PROTOCOL) & (table["tolerance"] == 0)]


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
