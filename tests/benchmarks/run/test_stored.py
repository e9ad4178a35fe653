from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.run.directory import run_record, saved_config
from benchmarks.run.errors import UserError
from benchmarks.run.stored import DamagedError, Measured, Summary, read_array, read_json, read_table

WHOLE = {"auc": 0.9, "accuracy": 1, "split": "test", "unsure": [0.2, 0.8], "epochs": 3}


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "classifier.json"
    path.write_text(json.dumps(WHOLE))
    assert read_json(path, Measured) == Measured(auc=0.9, accuracy=1.0, split="test", unsure=(0.2, 0.8))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"auc": 0.9', "no JSON"),
        ("[]", "Expected object, got array"),
        ("null", "Expected object, got null"),
        ("{}", "missing required field auc"),
        (json.dumps({**WHOLE, "auc": "0.9"}), "Expected float, got str - at auc"),
        (json.dumps({**WHOLE, "auc": None}), "Expected float, got null - at auc"),
        (json.dumps({**WHOLE, "accuracy": 1.5}), "Expected float <= 1.0 - at accuracy"),
        (json.dumps({**WHOLE, "accuracy": float("nan")}), "at accuracy"),
        (json.dumps({**WHOLE, "unsure": [0.2]}), "Expected array of length 2"),
        (json.dumps({**WHOLE, "split": 5}), "Expected str, got int - at split"),
    ],
)
def test_what_else_a_file_may_hold_is_a_sentence(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "classifier.json"
    path.write_text(text)
    with pytest.raises(DamagedError, match=r"classifier\.json is damaged \(.*" + reason + r".*\): do this\.$"):
        read_json(path, Measured, "do this")


def test_bytes_that_are_no_text_and_folders_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.json").mkdir()
    for name in ("a.json", "b.json", "absent.json"):
        with pytest.raises(DamagedError, match="is damaged"):
            read_json(tmp_path / name, Summary)


@pytest.mark.parametrize(
    "change",
    [{"image_size": "big"}, {"epochs": None}, {"arch": 5}, {"truth": "circle"}, {"methods": 3}, {"lr": float("nan")},
     {"image_size": 10**30}, {"out": []}, {"threads": "two"}, {"film_counts": [1, 2]}],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    from benchmarks.run.presets import make_config

    content = {**make_config("synthetic", {}).to_dict(), "annotations": "abc"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert saved_config(tmp_path).image_size == 224
    (tmp_path / "config.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        saved_config(tmp_path)
    content.pop("arch")
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"config\.json is damaged \(it lacks --"):
        run_record(tmp_path)


COLUMNS = ("method", "rate", "value")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "No columns"),
        (b"\xff\xfe\x00\x01", "is damaged"),
        (b"method,rate\na,1\n", "no column 'value'"),
        (b"method,rate,value\na,1,x\n", "'value' holds something other than numbers"),
        (b"method,rate,value\n,1,2\n", "'method' holds something other than words"),
        (b"method,rate,value\na,1,2\na,1,3\n", "two of its rows are about the same"),
        (b"method,rate,value\na,1,2,3,4\nb,1\n", "is damaged"),
    ],
)
def test_damaged_tables_are_sentences(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(DamagedError, match=r"t\.csv is damaged .*: do this\.$") as error:
        read_table(tmp_path / "t.csv", COLUMNS, COLUMNS[:2], "do this")
    assert reason in str(error.value)


def test_whole_tables_are_read(tmp_path: Path) -> None:
    table = pd.DataFrame({"method": ["a", "b"], "rate": [1, 1], "value": [0.5, None]})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet", index=False)
    for name in ("t.csv", "t.parquet"):
        pd.testing.assert_frame_equal(read_table(tmp_path / name, COLUMNS, COLUMNS[:2], ""), table)
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:300])
    with pytest.raises(DamagedError):
        read_table(tmp_path / "t.parquet", COLUMNS, COLUMNS[:2], "")
    table[:0].to_csv(tmp_path / "t.csv", index=False)
    assert read_table(tmp_path / "t.csv", COLUMNS, COLUMNS[:2], "").empty


def test_arrays_are_read_by_their_file_s_kind(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez(tmp_path / "b.npz", x=np.arange(2), y=np.ones(1))
    assert read_array(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert isinstance(read_array(tmp_path / "a.npy", "r"), np.memmap)
    assert {name: values.tolist() for name, values in read_array(tmp_path / "b.npz").items()} == {"x": [0, 1], "y": [1]}


@pytest.mark.parametrize("was", [b"}", b"(3,)", b"<i8", b"NUMPY", b"descr"])
@pytest.mark.parametrize("new", [b"(", b"\xff", b""])
def test_what_numpy_makes_of_a_damaged_header_is_a_sentence(tmp_path: Path, was: bytes, new: bytes) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(3, dtype="<i8"))
    path.write_bytes(path.read_bytes().replace(was, new.ljust(len(was) if new else 0, new or b" ")))
    with pytest.raises(DamagedError, match=r"a\.npy is gone or damaged"):
        read_array(path)


def test_an_array_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="is gone or damaged"):
        read_array(tmp_path / "a.npz")
