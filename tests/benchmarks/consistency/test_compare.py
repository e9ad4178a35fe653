from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from benchmarks import __main__ as cli
from benchmarks.analysis.tallies import summarise
from benchmarks.consistency.compare import compare, correlations, rho, side_by_side
from benchmarks.consistency.runs import load_runs
from benchmarks.run.errors import UserError

METHODS = ("center", "grad_cam", "guided_backprop", "normgrad_conv1x1_single")


def write_run(folder: Path, chances: dict[str, float], films: int = 60) -> Path:
    """A run directory whose methods hit with the given chances."""
    generator = np.random.default_rng(7)
    rows = [
        (f"{film}.png", method, protocol, 0.0 if generator.random() < chance else 100.0, 0.1, "ok", 0)
        for method, chance in chances.items()
        for protocol in ("paper", "fair")
        for film in range(films)
    ]
    columns = ["image", "method", "protocol", "distance", "seconds", "status", "batch"]
    scores = pd.DataFrame(rows, columns=columns)
    folder.mkdir(parents=True)
    scores.to_parquet(folder / "scores.parquet")
    summarise(scores).to_csv(folder / "summary.csv", index=False)
    facts = {
        "classifier": {"auc": 0.9, "accuracy": 0.8, "split": "test"},
        "images": films,
        "truth": "box",
        "chance": {"0": 0.05, "15": 0.08, "25": 0.1},
    }
    (folder / "summary.json").write_text(json.dumps(facts))
    (folder / "config.json").write_text(json.dumps({"preset": "synthetic", "arch": "resnet18", "image_size": 64}))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    same = dict(zip(METHODS, (0.1, 0.4, 0.6, 0.9), strict=True))
    turned = dict(zip(METHODS, (0.9, 0.6, 0.4, 0.1), strict=True))
    return [
        write_run(tmp_path / "one", same),
        write_run(tmp_path / "two", {**same, "grad_cam": 0.45, "random": 0.05}),
        write_run(tmp_path / "three", turned),
    ]


def test_correlation_says_whether_the_order_is_the_same(folders: list[Path]) -> None:
    table = correlations(load_runs(folders)).set_index(["run_a", "run_b", "protocol", "tolerance", "methods"])

    assert table.loc[("one", "two", "fair", 15, "all"), "rho"] == 1
    assert table.loc[("one", "three", "fair", 15, "all"), "rho"] == -1
    assert table.loc[("one", "two", "paper", 0, "all"), "n"] == 4  # random is in one run only
    assert table.loc[("one", "two", "paper", 0, "no baselines"), "n"] == 3
    low, high = table.loc[("one", "two", "fair", 15, "all"), ["ci_low", "ci_high"]]
    assert 0.5 < low <= high == 1


def test_correlation_is_scipys_and_nan_where_undefined() -> None:
    a, b = np.array([0.1, 0.5, 0.5, 0.9, 0.3]), np.array([0.2, 0.1, 0.6, 0.8, 0.3])

    assert rho(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(rho(a[:2], b[:2]))
    assert np.isnan(rho(np.full(5, 0.5), b))


def test_table_holds_the_numbers_of_the_reports(folders: list[Path]) -> None:
    runs = load_runs(folders)
    table = side_by_side(runs).set_index(["protocol", "tolerance", "method"])

    assert len(table) == 2 * 3 * 4
    own = runs[1].table.set_index(["protocol", "tolerance", "method"])
    assert table.loc[("fair", 15, "grad_cam"), "two"] == own.loc[("fair", 15, "grad_cam"), "accuracy"]
    assert table.loc[("fair", 15, "grad_cam"), "two ci_low"] == own.loc[("fair", 15, "grad_cam"), "ci_low"]


def test_command_prints_and_writes(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", *map(str, folders), "--out", str(tmp_path / "both")]) == 0

    printed = capsys.readouterr().out
    assert "Do the runs rank the methods alike?" in printed
    assert "normgrad_conv1x1_single" in printed
    text = (tmp_path / "both" / "comparison.md").read_text()
    assert "| one, two | fair | within 15 px | all | 4 | 1.00" in text
    assert "Not in all runs, so not compared: `random`." in text
    assert "not compared: random." in printed
    assert len(pd.read_csv(tmp_path / "both" / "comparison.csv")) == 24
    assert len(pd.read_csv(tmp_path / "both" / "correlation.csv")) == 3 * 6 * 2


def test_errors_name_the_run(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(folders[0]), str(tmp_path / "none")]) == 2
    assert "none holds no summary.csv: run `python -m benchmarks report" in capsys.readouterr().err
    with pytest.raises(UserError, match="at least two different"):
        load_runs([folders[0], folders[0]])
    with pytest.raises(UserError, match="no method in common"):
        compare([folders[0], write_run(tmp_path / "other", {"random": 0.5})])


@pytest.mark.parametrize("name", ["comparison.csv", "comparison.md", "correlation.csv", "paired.csv"])
def test_a_file_of_the_users_is_left_alone(
    name: str, folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    assert cli.main(["compare", *map(str, folders), "--out", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert f"{name} is not of a comparison, so nothing is written: choose another --out" in said.err
    assert not said.out
    assert {p.name: p.read_text() for p in tmp_path.iterdir() if p.is_file()} == {name: "mine"}


def test_a_comparison_replaces_an_earlier_one_as_a_whole(folders: list[Path], tmp_path: Path) -> None:
    """The test of the same films belongs to the first pair of runs; the second is of different films."""
    for folder in folders[:2]:
        record = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**record, "annotations": "same"}))
    (tmp_path / "notes.txt").write_text("mine")  # beside, which takes nobody's place
    compare(folders[:2], tmp_path)
    assert set(pd.read_csv(tmp_path / "paired.csv")["run_b"]) == {"two"}
    compare(folders[1:], tmp_path)
    assert not (tmp_path / "paired.csv").exists()
    assert "three" in pd.read_csv(tmp_path / "comparison.csv")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_films_are_left_out_of_all_runs(folders: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "unannotated.csv"
    table.write_text("image,x,y\n0.png,3,4\n0.png,9,9\n7.png,1,2\n")

    compare(folders[:2], tmp_path / "both", table)

    rows = pd.read_csv(tmp_path / "both" / "comparison.csv").set_index(["protocol", "tolerance", "method"])
    for folder in folders[:2]:
        scores = pd.read_parquet(folder / "scores.parquet")
        kept = scores[~scores["image"].isin(["0.png", "7.png"])]
        for (method, protocol), group in kept.groupby(["method", "protocol"]):
            if method != "random":
                assert rows.loc[(protocol, 15, method), folder.name] == pytest.approx(
                    (group["distance"] < 15).mean(), abs=1e-5
                )
    assert "| left out of them | 2 | 2 |" in (tmp_path / "both" / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("film\n0.png\n", 'the first column must be called "image"'),
        ("image\n", "names no film"),
        ("image\nother.png\n", "no run has an annotated film other.png"),
        ("image\n" + "\n".join(f"{i}.png" for i in range(60)), "leaves out all annotated films"),
    ],
)
def test_a_list_that_leaves_out_nothing_or_all_is_a_sentence(
    text: str | None, message: str, folders: list[Path], tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        compare(folders, None, tmp_path / "list.csv")


def test_a_run_of_several_seeds_stands_for_its_seeds(folders: list[Path], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    settings = {"preset": "synthetic", "arch": "resnet18", "image_size": 64, "seed": 2, "seeds": 2}
    needed = {"out": "elsewhere", "data": None, "epochs": 1, "film_counts": [2, 2, 2], "truth": "box", "methods": []}
    (whole / "config.json").write_text(json.dumps({**settings, **needed}))
    runs = load_runs([whole, folders[0]])
    assert [run.folder for run in runs] == [whole / "seed2", whole / "seed3", folders[0]]


def test_brackets_in_a_name_are_no_markup(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    odd = folders[0].rename(folders[0].with_name("run [v2] [bold]"))

    compare([odd, folders[1]])

    assert "[v2] [bold]" in " ".join(capsys.readouterr().out.split())


def test_runs_of_the_same_name_are_told_apart(folders: list[Path], tmp_path: Path) -> None:
    namesake = write_run(tmp_path / "b" / "one", {"grad_cam": 0.5})

    assert [run.label for run in load_runs([folders[0], namesake])] == [f"{tmp_path.name}/one", "b/one"]
