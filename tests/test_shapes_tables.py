"""The tables of the page on class sensitivity are those of the stored run."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from benchmarks.shapes.outlines import KINDS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tables() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs" / "extensions"))
    try:
        yield importlib.import_module("shapes_tables")
    finally:
        sys.path.remove(str(ROOT / "docs" / "extensions"))


def test_a_method_is_a_row_and_the_best_comes_first(tables: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps({"methods": ["a", "b"], "questions": 7}))
    accuracy = dict.fromkeys(KINDS, 0.99) | {"star": 0.95}
    network = {"pictures": 5, "mean_accuracy": 0.98, "mean_average_precision": 0.9876, "accuracy": accuracy}
    (tmp_path / "network.json").write_text(json.dumps(network))
    rows = [("a", "fair", 0, 0.5), ("a", "paper", 0, 0.1), ("b", "fair", 0, 0.75), ("b", "fair", 15, 1.0)]
    pd.DataFrame(rows, columns=["method", "protocol", "tolerance", "accuracy"]).to_csv(tmp_path / "summary.csv")
    by_class = [
        (method, protocol, 0, kind, number / 10, 0.05)
        for method in "ab"
        for protocol in ("fair", "paper")
        for number, kind in enumerate(KINDS)
    ]
    columns = ["method", "protocol", "tolerance", "class", "accuracy", "chance"]
    pd.DataFrame(by_class, columns=columns).to_csv(tmp_path / "by_class.csv")
    grid = [("a", 0.3, 0.4, None, 0.25), ("b", 0.9, 1.0, 0.99, 0.25)]
    pd.DataFrame(grid, columns=["method", "energy", "maximum", "difull", "chance"]).to_csv(tmp_path / "grid.csv")
    measures = [(method, name, value) for method in "ab" for name, value in (("insertion", 0.9), ("deletion", 0.2))]
    pd.DataFrame(measures, columns=["method", "measure", "value"]).to_csv(tmp_path / "measures.csv")
    text = tables.shapes_section(tmp_path)
    assert "--preset shapes --methods a,b" in text
    assert "98.0 %" in text
    assert "95.0 % for the hardest" in text
    first, second, chance = text.strip().splitlines()[-3:]
    assert first == "| `b` | 75.0 | 0.0 | 10.0 | 20.0 | 30.0 | 40.0 | 50.0 | 100.0 | 90.0 | 99.0 | 0.900 | 0.200 |"
    assert second.startswith("| `a` | 50.0 |")
    assert "| 40.0 | 30.0 |  | 0.900 |" in second
    assert chance.startswith("| (chance) | 5.0 | 5.0 |")


def test_a_version_without_a_stored_run_says_so(tables: ModuleType, tmp_path: Path) -> None:
    assert "No run is stored" in tables.shapes_section(tmp_path)
    assert not tables.costs_section(tmp_path)
