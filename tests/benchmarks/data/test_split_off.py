from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import __main__ as cli
from benchmarks.data.check_set import check_set
from benchmarks.data.object_cxr import read_split


def write_set(root: Path, dev_from: int = 10) -> Path:
    """Films of 10 patients, two each; those of even patients have an object on their second film."""
    generator = np.random.default_rng(0)
    for split, first in (("train", 0), ("dev", dev_from)):
        (root / split).mkdir(parents=True)
        rows = []
        for patient in range(first, first + 10):
            for number in range(2):
                name = f"{patient:04}_{number}.png"
                film = generator.integers(0, 255, (40, 40), dtype=np.uint8)
                Image.fromarray(film).save(root / split / name)
                rows.append(f"{name},{'0 5 5 20 20' if number and patient % 2 == 0 else ''}\n")
        (root / f"{split}.csv").write_text("image_name,annotation\n" + "".join(rows))
    (root / "dev_kinds.csv").write_text(f"image_name,kinds\n{dev_from:04}_1.png,zip\n")
    return root


def names(root: Path, split: str) -> set[str]:
    return {record.path.name for record in read_split(root, split)}


@pytest.mark.parametrize("of", ["dev", "train"])
def test_patients_stay_together(tmp_path: Path, of: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_set(tmp_path / "films"), tmp_path / "split"

    code = cli.main(
        ["split", "--data", str(data), "--out", str(out), "--of", of, "--share", "0.4", "--patients", r"^(\d+)_"]
    )

    assert code == 0
    assert "note" not in capsys.readouterr().out
    other = {"dev": "train", "train": "dev"}[of]
    assert names(out, other) == names(data, other)
    assert names(out, of) | names(out, "test") == names(data, of)
    of_test, left = ({name[:4] for name in names(out, split)} for split in ("test", of))
    assert not of_test & left
    assert (len(of_test), len(left)) == (4, 6)
    assert sum(record.label for record in read_split(out, "test")) == 2
    check_set(out, None, tmp_path / "cache")


@pytest.mark.parametrize(
    ("words", "notes"), [([], []), (["--patients", r"^\d+"], ["note: 6 patients of test are in train too"])]
)
def test_patients_of_both_splits_are_remarked_where_they_are_given(
    tmp_path: Path, words: list[str], notes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Train and dev number their films alike, which says nothing of patients by itself."""
    data = write_set(tmp_path / "films", dev_from=0)
    assert cli.main(["split", "--data", str(data), "--out", str(tmp_path / "split"), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(", such as 000")[0] for line in lines if line.startswith("note")] == notes


def test_annotations_and_kinds_go_along(tmp_path: Path) -> None:
    data, out = write_set(tmp_path / "films"), tmp_path / "split"
    assert cli.main(["split", "--data", str(data), "--out", str(out)]) == 0
    before = {r.path.resolve(): (r.shapes, [s.content for s in r.shapes]) for r in read_split(data, "dev")}
    after = {
        r.path.resolve(): (r.shapes, [s.content for s in r.shapes])
        for split in ("dev", "test")
        for r in read_split(out, split)
    }
    assert after == before
    assert not list(out.glob("*.png"))


def test_the_seed_draws(tmp_path: Path) -> None:
    data = write_set(tmp_path / "films")
    drawn = []
    for place, seed in enumerate((0, 0, 1)):
        assert cli.main(["split", "--data", str(data), "--out", str(tmp_path / str(place)), "--seed", str(seed)]) == 0
        drawn.append(names(tmp_path / str(place), "test"))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--share", "1"], "--share is 1.0: it must be between 0 and 1"),
        (["--seed", "-1"], "--seed is -1: it must be at least 0"),
        (["--patients", "("], "--patients: '(' is no regular expression"),
        (["--patients", "x"], "--patients: 'x' finds no patient in 0000_0.png"),
        (["--patients", "(x)?"], "--patients: '(x)?' finds no patient in 0000_0.png"),
        (["--patients", "^(x*)"], "--patients: '^(x*)' finds no patient in 0000_0.png"),
        (["--patients", "^0"], "20 films of 1 patients cannot be divided by 0.5"),
    ],
)
def test_what_cannot_be_divided_is_said(
    tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_set(tmp_path / "films")
    assert cli.main(["split", "--data", str(data), "--out", str(tmp_path / "split"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_set(tmp_path / "films")
    assert cli.main(["split", "--data", str(data), "--out", str(data)]) == 2
    assert "holds something already" in capsys.readouterr().err
    (data / "test.csv").touch()
    assert cli.main(["split", "--data", str(data), "--out", str(tmp_path / "split")]) == 2
    assert "has a test split already" in capsys.readouterr().err


def test_a_split_that_was_stopped_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = write_set(tmp_path / "films"), tmp_path / "split"
    command = ["split", "--data", str(data), "--out", str(out)]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.data.split_off.write_kinds", stop)  # of dev: train has its table already
        assert cli.main([*command, "--seed", "1"]) == 130
    assert (out / "train.csv").exists()
    assert cli.main(command) == 0
    assert cli.main([*command[:-1], str(tmp_path / "other")]) == 0
    tables = [{path.name: path.read_bytes() for path in root.glob("*.csv")} for root in (out, tmp_path / "other")]
    assert tables[0] == tables[1]
    assert cli.main(command) == 2  # it is finished
