from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_run import POSITIVES, make_run

from benchmarks import __main__ as cli
from benchmarks.classifier.network import build_network
from benchmarks.consistency.check import choose_methods, consistency, evenly_spaced, own_rows
from benchmarks.consistency.check_tables import COLUMNS, cells, markdown
from benchmarks.consistency.variants import ALL, CHANCE, SMOOTHED, TRAINED, Played
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.scoring.score import score

METHODS = ("center", "input_x_gradient", "normgrad_conv1x1_single")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = make_run(tmp_path_factory.mktemp("consistency"), methods=METHODS)
    score(config)
    return config


def test_rows_by_hand() -> None:
    points = np.array([[0.0, 0.0], [10.0, 0.0], [np.nan, np.nan]])
    trained = Played(points, np.array([0.0, 100.0, np.nan]), np.ones(3))
    moved = Played(points + np.array([3.0, 4.0]), np.array([0.0, 14.0, 15.0]), np.array([0.2, 0.4, np.nan]))
    played = {(TRAINED, "m"): trained, (SMOOTHED, "m"): trained, (ALL, "m"): moved}
    table = pd.DataFrame(own_rows([played], 0, 0.07, 3), columns=list(COLUMNS))
    assert table.iloc[-1, :5].tolist() == ["randomised", TRAINED, CHANCE, "accuracy", 0.07]
    table = table[:-1].set_index(["check", "variant", "measure"])

    assert list(table.index) == [
        ("smoothing", TRAINED, "accuracy"),
        *(("smoothing", SMOOTHED, measure) for measure in ("accuracy", "accuracy_difference", "moved_px")),
        ("randomised", TRAINED, "accuracy"),
        *(
            ("randomised", ALL, measure)
            for measure in ("accuracy", "accuracy_difference", "rank_correlation", "moved_px")
        ),
    ]
    value, films = table["value"], table["films"]
    assert value["randomised", TRAINED, "accuracy"] == pytest.approx(1 / 3)  # a map that is not finite is a miss
    assert value["randomised", ALL, "accuracy"] == pytest.approx(2 / 3)  # 14 px is within 15, 15 px is not
    assert value["randomised", ALL, "accuracy_difference"] == pytest.approx(1 / 3)
    assert value["randomised", ALL, "rank_correlation"] == pytest.approx(0.3)
    assert value["randomised", ALL, "moved_px"] == 5
    assert (films["randomised", ALL, "rank_correlation"], films["randomised", ALL, "moved_px"]) == (2, 2)
    assert value["smoothing", SMOOTHED, "moved_px"] == 0


def test_rows_over_seeds_by_hand() -> None:
    def one(distances: list[float], points: list[float], correlation: list[float]) -> Played:
        return Played(np.array([[x, 0.0] for x in points]), np.array(distances), np.array(correlation))

    first = {(TRAINED, "m"): one([0, 0], [0, 0], [1, 1]), (ALL, "m"): one([0, 99], [10, 20], [0.5, np.nan])}
    second = {(TRAINED, "m"): one([0, 99], [0, 0], [1, 1]), (ALL, "m"): one([99, 99], [30, 40], [0.1, -0.3])}
    second[TRAINED, "n"] = second[ALL, "n"] = one([0, 0], [0, 0], [1, 1])  # the first seed lacks it
    table = pd.DataFrame(own_rows([first, second], 0, 0.1, 2), columns=list(COLUMNS))
    assert set(table["method"]) == {"m", CHANCE}
    rows = table[(table["check"] == "randomised") & (table["method"] == "m")].set_index(["variant", "measure"])
    assert rows["value"].to_dict() == pytest.approx(
        {
            (TRAINED, "accuracy"): 3 / 4,
            (ALL, "accuracy"): 1 / 4,
            (ALL, "accuracy_difference"): -1 / 2,
            (ALL, "rank_correlation"): (0.5 + 0.1 - 0.3) / 3,
            (ALL, "moved_px"): 25,  # 10 and 30 make 20 on the one film, 20 and 40 make 30 on the other
        }
    )
    assert (rows["films"] == 2).all()


def test_films_are_evenly_spaced() -> None:
    assert evenly_spaced([3, 5, 8, 9, 20], 3) == [3, 8, 20]
    assert evenly_spaced([3, 5], 32) == [3, 5]


def test_default_methods_are_those_of_the_run_that_know_a_network(run: Config) -> None:
    assert [method.name for method in choose_methods(run)] == list(METHODS[1:])
    assert [method.name for method in choose_methods(run, ("grad_cam", "random"))] == ["grad_cam"]
    with pytest.raises(UserError, match="know no network"):
        choose_methods(run, ("center",))


def test_command_writes_table_text_and_figure(run: Config, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["consistency", "--checkpoint", str(run.out), "--films", "4", "--quiet", "--accelerator", "cpu"]
    assert cli.main(options) == 0

    printed = capsys.readouterr().out
    assert "Weights drawn anew" in printed
    table = pd.read_csv(run.out / "consistency.csv")
    assert tuple(table.columns) == COLUMNS
    assert set(table["check"]) == {"smoothing", "randomised"}
    assert set(table["method"]) == {*METHODS[1:], CHANCE}
    assert set(table.loc[table["measure"] == "accuracy", "films"]) == {4}
    bounded = table[table["measure"] == "rank_correlation"]
    assert bounded["value"].between(-1, 1).all()
    assert (table["ci_low"] <= table["ci_high"]).eq(table["method"] != CHANCE).all()
    # Behind the last block comes the mean over places, so the head can only scale this map.
    single = bounded[(bounded["method"] == "normgrad_conv1x1_single") & (bounded["variant"] == "head only")]
    assert single["value"].tolist() == pytest.approx([1], abs=1e-3)
    assert bounded.loc[bounded["variant"] == "all weights", "value"].abs().lt(0.9).all()
    text = (run.out / "consistency.md").read_text()
    assert text.count("| input_x_gradient |") == 4
    first = {path.name: path.read_bytes() for path in run.out.glob("consistency.*")}
    assert set(first) == {f"consistency.{kind}" for kind in ("csv", "json", "md", "png", "svg")}

    assert cli.main(options) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in run.out.glob("consistency.*")} == first


def test_a_run_that_was_never_scored_is_left_without_scores(tmp_path: Path) -> None:
    config = make_run(tmp_path)
    consistency(config.out, methods=["input_x_gradient"], films=2)
    assert not list(config.out.glob("*.sqlite"))


def test_command_compares_other_runs(run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = []
    for number, change in enumerate(({"seed": 1}, {"arch": "resnet18"})):
        others.append(tmp_path / str(number))
        shutil.copytree(run.out, others[-1])
        content = json.loads((others[-1] / "config.json").read_text())
        (others[-1] / "config.json").write_text(json.dumps({**content, **change}))
    consistency(run.out, others, ("normgrad_conv1x1_single",), 2, quiet=True, accelerator="cpu")

    table = pd.read_csv(run.out / "consistency.csv").set_index(["check", "variant", "measure"])
    difference = table.loc[("architecture", "resnet18 - slim_resnet18", "accuracy_difference")]
    assert (difference["value"], difference["films"]) == (0, POSITIVES)
    assert table.loc[("seed", "slim_resnet18", "moved_px"), "value"] == 0
    assert "Other architectures" in capsys.readouterr().out
    assert "## Other training seeds" in (run.out / "consistency.md").read_text()


def test_seeds_of_a_run_are_taken_together(run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is said of two seeds is the mean of what is said of each; and they are compared with each other."""
    whole, record = tmp_path / "whole", json.loads((run.out / "config.json").read_text())
    for seed in (0, 1):
        shutil.copytree(run.out, whole / f"seed{seed}")
        own = {**record, "seed": seed, "one_of_seeds": True}
        (whole / f"seed{seed}" / "config.json").write_text(json.dumps(own))
    torch.manual_seed(1)
    weights = {f"network.{name}": value for name, value in build_network(run.arch, "none").state_dict().items()}
    torch.save({"state_dict": weights}, whole / "seed1" / "checkpoints" / "best.ckpt")
    (whole / "config.json").write_text(json.dumps({**record, "seeds": 2}))
    options = ["--films", "4", "--quiet", "--accelerator", "cpu"]
    assert cli.main(["consistency", "--checkpoint", str(whole), *options]) == 0
    assert "seed 1, 2 of 2" in capsys.readouterr().out
    keys = ["check", "variant", "method", "measure"]
    both = pd.read_csv(whole / "consistency.csv").set_index(keys)["value"]
    assert {"smoothing", "randomised", "seed"} == set(both.index.get_level_values("check"))
    own = []
    for seed in (0, 1):
        assert cli.main(["consistency", "--checkpoint", str(whole / f"seed{seed}"), *options]) == 0
        own.append(pd.read_csv(whole / f"seed{seed}" / "consistency.csv").set_index(keys)["value"])
    assert capsys.readouterr().out.count("nothing to do") == 2  # what a seed has computed is there for both
    for key in own[0].index:
        if key[3] != "moved_px" and key[2] != CHANCE:
            assert both[key] == pytest.approx((own[0][key] + own[1][key]) / 2, abs=1e-5)


def test_errors_are_sentences(run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["consistency", "--checkpoint", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert cli.main(["consistency", "--checkpoint", str(run.out), "--films", "1"]) == 2
    assert "--films is 1: it must be at least 2." in capsys.readouterr().err
    assert cli.main(["consistency", "--checkpoint", str(run.out), "--others", str(tmp_path)]) == 2
    assert "holds no config.json" in capsys.readouterr().err


def test_undefined_values_and_failures_are_words() -> None:
    rows = [
        ("randomised", TRAINED, "m", "accuracy", 0.5, 0.25, 0.75, 4),
        ("randomised", ALL, "m", "rank_correlation", np.nan, np.nan, np.nan, 0),
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))

    assert cells(table, "randomised") == [
        [["method", "trained: accuracy, %", "all weights: rank correlation"], ["m", "50.0 [25.0, 75.0]", "undefined"]]
    ]
    assert cells(table, "seed") == []
    assert "- n: because" in markdown(table, {"n": "because"})
