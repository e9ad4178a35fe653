from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_run import make_run

from benchmarks.consistency.check import consistency
from benchmarks.report.step_tables import (
    consistency_data,
    fraction,
    froc_data,
    measures_data,
    mend_tables,
    read_table,
    sensitivities,
)
from benchmarks.run.errors import UserError
from benchmarks.scoring.measure import measure
from benchmarks.scoring.score import score


def test_a_table_that_is_not_there_leaves_its_part_out(tmp_path: Path) -> None:
    assert read_table(tmp_path, "measures.csv") is None
    assert measures_data(None) == consistency_data(None) == []
    assert froc_data(None) is None
    (tmp_path / "froc.csv").write_text("method,false_positives_per_image,sensitivity\n")
    assert read_table(tmp_path, "froc.csv") is None


def test_a_table_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "measures.csv").write_text("method,measure,value\na,iou,0.5\n")

    with pytest.raises(UserError, match=r"measures\.csv is damaged \(it has no column 'ci_low'\)"):
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
    assert (unknown["title"], unknown["values"]["a"][0]) == ("Sparsity", 0.12346)


def test_sensitivities() -> None:
    rows = [("a", 0.5, 0.2), ("b", 0.125, 0.1), ("a", 0.125, 0.1), ("b", 0.5, 0.9), ("b", 8, 1.0), ("a", 8, 1.0)]
    froc = pd.DataFrame(rows, columns=["method", "false_positives_per_image", "sensitivity"])

    assert sensitivities(froc).to_dict("index") == {
        "b": {0.125: 0.1, 0.5: 0.9, 8: 1.0},
        "a": {0.125: 0.1, 0.5: 0.2, 8: 1.0},
    }
    assert list(sensitivities(froc).index) == ["b", "a"]
    assert froc_data(froc) == {
        "rates": [0.125, 0.5, 8],
        "labels": ["1/8", "1/2", "8"],
        "values": {"b": [0.1, 0.9, 1.0], "a": [0.1, 0.2, 1.0]},
    }
    assert [fraction(rate) for rate in (0.25, 0.3, 1.0, 2.5)] == ["1/4", "0.3", "1", "2.5"]


def test_consistency_is_a_table_for_each_check_and_measure() -> None:
    rows = [
        ("seed", "seed 1", "a", "rank_correlation", 0.9, 0.8, 1.0, 5),
        ("smoothing", "sigma 1", "a", "accuracy_difference", -0.02, -0.1, 0.05, 5),
        ("seed", "seed 2", "a", "rank_correlation", 0.7, 0.6, 0.8, 5),
        ("seed", "seed 1", "b", "rank_correlation", 0.1, float("nan"), float("nan"), 5),
    ]
    columns = ["check", "variant", "method", "measure", "value", "ci_low", "ci_high", "films"]

    smoothing, seed = consistency_data(pd.DataFrame(rows, columns=columns))

    assert (smoothing["title"], smoothing["measure"]) == ("Smoothed or not", "difference, points")
    assert (smoothing["factor"], smoothing["digits"]) == (100, 1)
    assert smoothing["values"] == {"a": [[-0.02, -0.1, 0.05, 5]]}
    assert seed["variants"] == ["seed 1", "seed 2"]
    assert seed["values"] == {"a": [[0.9, 0.8, 1.0, 5], [0.7, 0.6, 0.8, 5]], "b": [[0.1, None, None, 5], None]}


def test_tables_are_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, methods=("center",), measure_films=2)
    score(config)
    measure(config)
    consistency(config.out, methods=("grad_cam",), films=2, quiet=True, accelerator="cpu")
    names = ("measures.csv", "froc.csv", "consistency.csv")
    before = [(config.out / name).read_bytes() for name in names]
    mend_tables(config)
    assert "damaged" not in capsys.readouterr().out
    for damage in (b"", b"method,measure\n", b"\xff\x00", None):
        for name in names:
            (config.out / name).unlink() if damage is None else (config.out / name).write_bytes(damage)
        mend_tables(config)
        assert [(config.out / name).read_bytes() for name in names] == before
        told = capsys.readouterr().out
        assert told.count("made again from measures.sqlite") == 2
        assert told.count("made again from consistency.json") == 1
    (config.out / "measures.sqlite").write_text("no database" * 100)
    for name in names:
        (config.out / name).write_text("")
    (config.out / "consistency.json").write_text("[]")
    mend_tables(config)
    assert capsys.readouterr().out.count("The report does without it.") == 2
