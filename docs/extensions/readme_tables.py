"""The tables of the README, from the stored runs that they name: ``python docs/extensions/readme_tables.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.analysis.tallies import main_rows
from benchmarks.methods import METHODS
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.text_tables import markdown_table, with_interval, within
from benchmarks.zoo.zoo_tables import beside_peers

ROOT = Path(__file__).parents[2]
RECOMMENDED = "normgrad_conv1x1_combined_suggested"
"""The map that ``explain`` gives and the first page recommends; its row is the first."""
SHOWN_BY_VERDICT = 8
"""Methods of the table by verdict: the best ones that are no baselines."""


def accuracies(run: Path) -> list[str]:
    """Accuracy of each method in percent with its interval, as Markdown: that of ``explain``, then the best first.

    Args:
        run: Folder with the ``summary.csv`` of a run.
    """
    table = pd.read_csv(run / "summary.csv")
    columns = (MAIN_PROTOCOL, 0), (MAIN_PROTOCOL, MAIN_TOLERANCE), ("paper", MAIN_TOLERANCE)
    head = ["method", *(f"`{protocol}`, {within(tolerance)}" for protocol, tolerance in columns)]
    return markdown_table([head, *in_percent([table], columns, in_order(table))])


def verdicts(run: Path) -> list[str]:
    """The same by the classifier's verdict, and the share of misses that are its own.

    Args:
        run: Folder with the ``summary.csv`` and ``summary_verdicts.csv`` of a run.
    """
    table = pd.read_csv(run / "summary_verdicts.csv")
    table = table[table["protocol"] == MAIN_PROTOCOL].set_index(["method", "verdict", "tolerance"])
    near = within(MAIN_TOLERANCE)
    head = ["method", "says object, inside", near, "misses it, inside", near]
    rows = [[*head, f"misses ({MAIN_TOLERANCE} px) that are the classifier's, %"]]
    for name in in_order(pd.read_csv(run / "summary.csv"), baselines=False)[:SHOWN_BY_VERDICT]:
        cells = [
            f"{100 * table.loc[(name, verdict, tolerance), 'accuracy']:.1f}"
            for verdict in ("object", "clean")
            for tolerance in (0, MAIN_TOLERANCE)
        ]
        rows.append([f"`{name}`", *cells, f"{100 * table.loc[(name, 'clean', MAIN_TOLERANCE), 'share_of_misses']:.0f}"])
    return markdown_table(rows)


def in_percent(
    tables: Sequence[pd.DataFrame], columns: Sequence[tuple[str, int]], methods: Sequence[str]
) -> list[list[str]]:
    """A row for each method: its name, and for each column its accuracy by each table, with its interval.

    Args:
        tables: Of ``summary.csv``.
        columns: Protocol and tolerance.
        methods: Their names.
    """
    keys, values = ["method", "protocol", "tolerance"], ["accuracy", "ci_low", "ci_high"]
    shares = [table.set_index(keys)[values] for table in tables]
    return [
        [f"`{name}`", *(with_interval(list(of.loc[(name, *column)]), 1, 100) for column in columns for of in shares)]
        for name in methods
    ]


def in_order(table: pd.DataFrame, *, baselines: bool = True) -> list[str]:
    """Methods of a ``summary.csv``, perhaps without baselines: the recommended one, then the best first."""
    names = list(main_rows(table).sort_values("accuracy", ascending=False, kind="stable")["method"])
    names = [name for name in names if baselines or METHODS[name].family != "baseline"]
    return sorted(names, key=lambda name: name != RECOMMENDED)


def zoo(run: Path) -> list[str]:
    """On how many networks each package's maps are right.

    Args:
        run: Folder with the ``zoo.json`` of a survey.
    """
    return markdown_table(beside_peers(json.loads((run / "zoo.json").read_text(encoding="utf-8"))["architectures"]))


TABLES = {"results": accuracies, "verdicts": verdicts, "zoo": zoo}
_BLOCK = re.compile(rf"(<!-- ({'|'.join(TABLES)}): runs/(\w+)/\w+\.\w+ -->\n).*?(\n<!-- \2 end -->)", re.DOTALL)


def filled_in(text: str) -> str:
    """The README's text with its tables made anew."""
    results = ROOT / "docs" / "results"
    return _BLOCK.sub(lambda of: of[1] + "\n".join(TABLES[of[2]](results / of[3])) + of[4], text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled_in(readme.read_text(encoding="utf-8")), encoding="utf-8")
