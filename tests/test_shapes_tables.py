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

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tables() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs" / "extensions"))
    try:
        yield importlib.import_module("shapes_tables")
    finally:
        sys.path.remove(str(ROOT / "docs" / "extensions"))


def test_a_method_is_a_row_over_networks_and_the_best_comes_first(tables: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps({"methods": ["a", "b"], "questions": 7}))
    by_class = [("disc", 0, 0.05), ("disc", 15, 0.1), ("star", 0, 0.15), ("star", 15, 0.2), ("star", 0, 0.15)]
    pd.DataFrame(by_class, columns=["class", "tolerance", "chance"]).to_csv(tmp_path / "by_class.csv")
    for seed, (a, b, difull) in {"0": (0.5, 0.75, None), "1": (0.625, 0.5, 0.5), "2": (0.25, 1.0, 0.75)}.items():
        folder = tmp_path / seed
        folder.mkdir()
        network = {"pictures": 5, "mean_accuracy": 0.9 + int(seed) / 100, "mean_average_precision": 0.9 + b / 100}
        (folder / "network.json").write_text(json.dumps(network))
        rows = [
            ("a", "fair", 0, a),
            ("a", "paper", 0, 0.1),
            ("b", "fair", 0, b),
            ("b", "fair", 15, 1),
            ("a", "fair", 15, 0.5),
        ]
        pd.DataFrame(rows, columns=["method", "protocol", "tolerance", "accuracy"]).to_csv(folder / "summary.csv")
        grid = [("a", a, 0.4, difull, 0.25), ("b", 0.9, b, 0.99, 0.25)]
        pd.DataFrame(grid, columns=["method", "energy", "maximum", "difull", "chance"]).to_csv(folder / "grid.csv")
        measures = [(method, name, value) for method in "ab" for name, value in (("insertion", a), ("deletion", 0.2))]
        pd.DataFrame(measures, columns=["method", "measure", "value"]).to_csv(folder / "measures.csv")
    text = tables.shapes_section(tmp_path)
    assert "$ for seed in 0 1 2; do" in text
    assert "--methods a,b\n" in text
    assert "90.0 to 92.0 %" in text
    assert "at least 0.905" in text
    first, second, chance = text.strip().splitlines()[-3:]
    assert first == "| `b` | 75.0 | 50.0 | 100.0 | 2 | 100.0 | 75.0 | 90.0 | 99.0 | 0.458 | 0.200 |"
    assert second == "| `a` | 45.8 | 25.0 | 62.5 | 1 | 50.0 | 40.0 | 45.8 | 62.5 | 0.458 | 0.200 |"
    assert chance == "| (chance) | 10.0 |  |  |  | 15.0 | 25.0 | 25.0 |  |  |  |"


def test_a_version_without_a_stored_run_says_so(tables: ModuleType, tmp_path: Path) -> None:
    assert "No run is stored" in tables.shapes_section(tmp_path)
    assert not tables.costs_section(tmp_path)
