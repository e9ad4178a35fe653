from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis.tallies import median_interval
from benchmarks.consistency.between_runs import between_runs
from benchmarks.consistency.runs import check_repetitions, load_runs
from benchmarks.run.errors import UserError

FILMS = 8
SETTINGS = {"arch": "resnet34", "seed": 0, "truth": "box", "epochs": 3, "annotations": "abc", "out": "x", "preset": "p"}


def write_run(
    folder: Path, hits: dict[str, str], *, x: int = 0, target: str = "1" * FILMS, flip: bool = False, **settings: object
) -> Path:
    """A run whose methods hit the films marked 1; its maxima lie in column ``x`` or at the film's number."""
    films = list(range(FILMS))[:: -1 if flip else 1]
    rows = [
        (f"{film}.png", method, protocol, x, 0, 0.0 if marks[film] == "1" else 100.0, int(target[film]), "ok")
        for method, marks in hits.items()
        for protocol in ("paper", "fair")
        for film in films
    ]
    columns = ["image", "method", "protocol", "x", "y", "distance", "target", "status"]
    folder.mkdir(parents=True)
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "scores.parquet")
    (folder / "config.json").write_text(json.dumps({**SETTINGS, "out": str(folder), **settings}))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [
        write_run(tmp_path / "a0", {"m": "11110000", "n": "11111111", "only_a": "11111111"}),
        write_run(tmp_path / "a1", {"m": "11111100", "n": "11111110"}, x=30, target="11110000", seed=1),
        write_run(tmp_path / "b0", {"m": "00000011", "n": "11111111"}, x=40, arch="resnet50", epochs=5, flip=True),
    ]


def table(rows: list) -> pd.DataFrame:
    columns = ["check", "variant", "method", "measure", "value", "ci_low", "ci_high", "films"]
    return pd.DataFrame(rows, columns=columns).set_index(["check", "variant", "method", "measure"]).sort_index()


def test_numbers_by_hand(folders: list[Path]) -> None:
    rows = table(between_runs(load_runs(folders), ["m", "n", "only_a"], 0))

    assert set(rows.index.get_level_values("method")) == {"m", "n"}  # what all have scored
    value = rows["value"]
    assert value["seed", "resnet34", "m", "accuracy"] == pytest.approx((4 / 8 + 6 / 8) / 2)
    assert value["seed", "resnet34", "m", "accuracy_sd"] == pytest.approx(np.std([4 / 8, 6 / 8], ddof=1))
    assert value["seed", "resnet34 seed 1", "n", "accuracy"] == 7 / 8
    assert ("seed", "resnet50", "m", "accuracy") not in rows.index  # one seed only
    # Difference of Means: 2/8 of the one run of resnet50 against the mean 5/8 of the two of resnet34.
    assert value["architecture", "resnet50 - resnet34", "m", "accuracy_difference"] == pytest.approx(2 / 8 - 5 / 8)
    assert value["architecture", "resnet34", "m", "accuracy"] == pytest.approx(5 / 8)
    assert value["architecture", "resnet50", "n", "accuracy"] == 1
    assert rows.loc[("architecture", "resnet50 - resnet34", "m", "accuracy_difference"), "films"] == FILMS


def test_the_seed_is_that_of_the_training(folders: list[Path], tmp_path: Path) -> None:
    again = write_run(tmp_path / "again", {"m": "11110000"}, seed=7, checkpoint=str(folders[1]))

    assert load_runs([folders[0], again])[1].recipe == "resnet34 seed 1"
    with pytest.raises(UserError, match="the same architecture and seed"):
        check_repetitions(load_runs([folders[1], again]))


def test_movement_counts_films_of_the_same_class(folders: list[Path]) -> None:
    rows = table(between_runs(load_runs(folders), ["m"], 0))

    seed = rows.loc[("seed", "resnet34", "m", "moved_px")]
    assert (seed["value"], seed["films"]) == (30, 4)
    # a0 to b0: 40 px on 8 films; a1 to b0: 10 px on the 4 films of the same class, which makes 25 px there.
    architecture = rows.loc[("architecture", "resnet50 - resnet34", "m", "moved_px")]
    assert (architecture["value"], architecture["films"]) == ((25 + 40) / 2, 8)


def test_intervals_hold_what_pairing_leaves(tmp_path: Path) -> None:
    """Two runs that miss the same films and one film more: the difference has the interval of that one film."""
    folders = [
        write_run(tmp_path / "a", {"m": "11110001"}),
        write_run(tmp_path / "b", {"m": "11110000"}, arch="resnet50"),
    ]
    rows = table(between_runs(load_runs(folders), ["m"], 0))

    row = rows.loc[("architecture", "resnet50 - resnet34", "m", "accuracy_difference")]
    draws = np.random.default_rng(1).binomial(FILMS, 1 / FILMS, 100_000) / FILMS
    assert row["value"] == -1 / 8
    assert (row["ci_high"], row["ci_low"]) == (0, -np.quantile(draws, 0.975))
    same = table(
        between_runs(load_runs([folders[0], write_run(tmp_path / "c", {"m": "11110001"}, arch="vgg11")]), ["m"], 0)
    )
    equal = same.loc[("architecture", "vgg11 - resnet34", "m", "accuracy_difference")]
    assert equal[["value", "ci_low", "ci_high"]].tolist() == [0, 0, 0]


def test_the_spread_of_seeds_widens_the_interval(tmp_path: Path) -> None:
    """All films alike, so only the seeds vary: the mean of two draws from {0, 1} is 0, 1/2 or 1."""
    folders = [
        write_run(tmp_path / "a", {"m": "11111111"}),
        write_run(tmp_path / "b", {"m": "00000000"}, seed=1),
    ]
    rows = table(between_runs(load_runs(folders), ["m"], 0))

    assert rows.loc[("seed", "resnet34", "m", "accuracy"), ["value", "ci_low", "ci_high"]].tolist() == [0.5, 0, 1]


def test_median_interval_by_brute_force() -> None:
    values = np.array([1.0, 5.0, 9.0])
    middle, low, high = median_interval(values, 0)
    # Of 27 draws of three, 7 have the median 1 and 7 the median 9.
    assert (middle, low, high) == (5, 1, 9)
    assert np.isnan(median_interval(np.array([]), 0)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"annotations": "xyz"}, "other films or annotations"),
        ({"truth": "shape", "arch": "vgg11"}, "another --truth"),
        ({"seed": 1, "epochs": 9}, r"differs from .* in --epochs \(9, not 3\)"),
        ({"methods": ["all"]}, "same architecture and seed"),
    ],
)
def test_runs_that_cannot_be_compared(tmp_path: Path, settings: dict, message: str) -> None:
    folders = [write_run(tmp_path / "a", {"m": "1" * FILMS}), write_run(tmp_path / "b", {"m": "1" * FILMS}, **settings)]
    with pytest.raises(UserError, match=message):
        check_repetitions(load_runs(folders))


def test_runs_without_scores_or_common_methods(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "a", {"m": "1" * FILMS}), write_run(tmp_path / "b", {"n": "1" * FILMS}, seed=1)]
    with pytest.raises(UserError, match="no method in common"):
        between_runs(load_runs(folders), ["m", "n"], 0)
    (folders[1] / "scores.parquet").unlink()
    with pytest.raises(UserError, match=r"b holds no scores\.parquet: run `python -m benchmarks report"):
        between_runs(load_runs(folders), ["m"], 0)
