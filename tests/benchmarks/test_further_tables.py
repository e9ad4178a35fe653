from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.errors import UserError
from benchmarks.further_tables import (
    POINTS,
    RATES,
    consistency_data,
    froc_data,
    measures_data,
    read_table,
    sensitivities,
)

FROC = pd.DataFrame(
    [("a", 0.1, 0.2), ("a", 0.25, 0.3), ("a", 0.9, 0.6), ("a", 30.0, 1.0), ("b", 5.0, 0.5)],
    columns=["method", "false_positives_per_image", "sensitivity"],
)


def test_a_table_that_is_not_there_leaves_its_part_out(tmp_path: Path) -> None:
    assert read_table(tmp_path, "measures.csv") is None
    assert measures_data(None) == consistency_data(None) == []
    assert froc_data(None) is None
    (tmp_path / "froc.csv").write_text("method,false_positives_per_image,sensitivity\n")
    assert read_table(tmp_path, "froc.csv") is None


def test_a_table_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "measures.csv").write_text("method,measure,value\na,iou,0.5\n")

    with pytest.raises(UserError, match=r"measures\.csv has no column 'ci_low'"):
        read_table(tmp_path, "measures.csv")


def test_measures_come_in_their_order_and_unknown_ones_last() -> None:
    rows = [
        ("a", "sparsity", 0.123456789, 0.1, 0.2, 7, "higher"),
        ("a", "deletion", 0.4, float("nan"), float("nan"), 7, "lower"),
        ("b", "deletion", float("nan"), 0.0, 0.0, 0, "lower"),
        ("a", "energy", 0.5, 0.4, 0.6, 7, "higher"),
    ]
    table = pd.DataFrame(rows, columns=["method", "measure", "value", "ci_low", "ci_high", "films", "better"])

    energy, deletion, unknown = measures_data(table)

    assert (energy["name"], energy["title"], energy["better"]) == ("energy", "Energy", "higher")
    assert deletion["values"] == {"a": [0.4, None, None, 7], "b": [None, 0, 0, 0]}
    assert (unknown["title"], unknown["values"]["a"][0]) == ("sparsity", 0.12346)


def test_sensitivities_by_hand() -> None:
    table = sensitivities(FROC)

    assert list(table.columns) == [0.125, 0.25, 0.5, 1, 2, 4, 8]
    assert table.loc["a"].tolist() == [0.2, 0.3, 0.3, 0.6, 0.6, 0.6, 0.6]
    assert table.loc["b"].tolist() == [0, 0, 0, 0, 0, 0, 0.5]


def test_long_curves_are_thinned_to_points_of_their_own() -> None:
    long = pd.DataFrame({"method": "a", "false_positives_per_image": [i / 500 for i in range(6000)]})
    long["sensitivity"] = long["false_positives_per_image"] / 12

    data = froc_data(long)
    short = froc_data(FROC)

    assert data is not None
    assert short is not None
    points = data["curves"]["a"]
    assert POINTS / 2 < len(points) <= POINTS
    assert points[-1] == [8.0, 0.6667]
    assert all(share == pytest.approx(rate / 12, abs=1e-4) for rate, share in points)
    assert data["at"]["a"] == [pytest.approx(rate / 12, abs=2e-4) for rate in RATES]
    assert short["curves"]["a"] == [[0.1, 0.2], [0.25, 0.3], [0.9, 0.6], [30.0, 1.0]]


def test_consistency_is_a_table_for_each_check_and_measure() -> None:
    rows = [
        ("seed", "seed 1", "a", "correlation", 0.9, 0.8, 1.0, 5),
        ("smoothing", "sigma 1", "a", "accuracy_difference", -0.02, -0.1, 0.05, 5),
        ("seed", "seed 2", "a", "correlation", 0.7, 0.6, 0.8, 5),
        ("seed", "seed 1", "b", "correlation", 0.1, float("nan"), float("nan"), 5),
    ]
    columns = ["check", "variant", "method", "measure", "value", "ci_low", "ci_high", "films"]

    smoothing, seed = consistency_data(pd.DataFrame(rows, columns=columns))

    assert (smoothing["title"], smoothing["measure"]) == ("Smoothing", "accuracy difference")
    assert smoothing["values"] == {"a": [[-0.02, -0.1, 0.05, 5]]}
    assert seed["variants"] == ["seed 1", "seed 2"]
    assert seed["values"] == {"a": [[0.9, 0.8, 1.0, 5], [0.7, 0.6, 0.8, 5]], "b": [[0.1, None, None, 5], None]}
