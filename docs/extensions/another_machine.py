"""The README's run over seeds, made once more on another machine, beside the stored one, as Markdown."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from readme_tables import in_order, in_percent

from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.text_tables import markdown_table, within

TOLERANCES = (0, MAIN_TOLERANCE)


def section(here: Path, there: Path) -> str:
    """Classifiers and accuracies that one command gave on two machines, and the differences that hold on both.

    Args:
        here: Folder with the ``seeds.csv``, ``summary.csv`` and ``differences.csv`` of a run over seeds.
        there: Folder with the same of the other machine; it need not exist.
    """
    if not (there / "seeds.csv").exists():
        return "No run of another machine is stored in this version.\n"
    runs = (here, there)
    areas = [pd.read_csv(run / "seeds.csv")["auc"] for run in runs]
    listed = [f"{', '.join(f'{area:.4f}' for area in of)} (mean {of.mean():.4f})" for of in areas]
    tables = [pd.read_csv(run / "summary.csv") for run in runs]
    columns = [(MAIN_PROTOCOL, tolerance) for tolerance in TOLERANCES]
    rows = [["method", *(f"{within(tolerance)}, {place}" for tolerance in TOLERANCES for place in ("here", "there"))]]
    rows += in_percent(tables, columns, in_order(tables[0], baselines=False))
    held = [_held(run) for run in runs]
    turned = held[0] & {(tolerance, worse, better) for tolerance, better, worse in held[1]}
    lines = [
        f"Test AUC of the classifiers here: {listed[0]}; there: {listed[1]}.",
        "",
        *markdown_table(rows),
        "",
        f"Protocol `{MAIN_PROTOCOL}`, means over seeds in percent. Of all pairs of methods at these two tolerances,",
        f"{len(held[0])} differences hold over the seeds here and {len(held[1])} there,",
        f"{len(held[0] & held[1])} of them on both machines, and {len(turned)} the other way round.",
    ]
    return "\n".join(lines) + "\n"


def _held(run: Path) -> set[tuple[int, str, str]]:
    """Differences that hold over seeds: tolerance, the better method, the worse one."""
    table = pd.read_csv(run / "differences.csv")
    kept = table[table["holds"] & (table["protocol"] == MAIN_PROTOCOL) & table["tolerance"].isin(TOLERANCES)]
    return set(kept[["tolerance", "better", "worse"]].itertuples(index=False, name=None))
