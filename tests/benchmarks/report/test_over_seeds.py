"""Several seeds in one run directory: each is the run that it would be alone, and the tables are over all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import __main__ as cli
from benchmarks.commands import steps
from benchmarks.run.directory import saved_config

METHODS = "center,grad_cam,normgrad_conv1x1_combined"
TINY = [
    "--image-size", "64", "--epochs", "1", "--batch-size", "4", "--quiet", "--threads", "1", "--methods", METHODS,
    "--weights", "none", "--measure-films", "2", "--preset", "synthetic",
]  # fmt: skip


def write_set(root: Path) -> None:
    generator = np.random.default_rng(1)
    for split, count in {"train": 8, "dev": 4, "test": 8}.items():
        (root / split).mkdir(parents=True)
        rows = [("image_name", "annotation")]
        for number in range(count):
            film = generator.integers(0, 120, (40, 40), dtype=np.uint8)
            film[10:20, 10:20] = 250 if number % 2 else film[10:20, 10:20]
            Image.fromarray(film).save(root / split / f"{number}.png")
            rows.append((f"{number}.png", "0 10 10 20 20" if number % 2 else ""))
        with (root / f"{split}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the set ``films`` and the run ``both`` of the seeds 3 and 4."""
    folder = tmp_path_factory.mktemp("seeds")
    write_set(folder / "films")
    assert cli.main(_run(folder, "both", "--seed", "3", "--seeds", "2")) == 0
    return folder


def _run(folder: Path, out: str, *more: str) -> list[str]:
    return ["run", "--data", str(folder / "films"), "--out", str(folder / out), *TINY, *more]


def rows(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "scores.parquet").drop(columns="seconds")


def test_each_seed_is_the_run_that_it_would_be_alone(place: Path) -> None:
    assert cli.main(_run(place, "alone", "--seed", "4")) == 0

    assert rows(place / "both" / "seed4").equals(rows(place / "alone"))
    assert not rows(place / "both" / "seed3").equals(rows(place / "alone"))
    one = json.loads((place / "both" / "seed4" / "classifier.json").read_text())
    assert one["weights"] == json.loads((place / "alone" / "classifier.json").read_text())["weights"]


def test_what_seeds_share_is_there_once(place: Path) -> None:
    run = place / "both"
    assert {path.name for path in run.iterdir() if path.is_dir()} == {"cache", "seed3", "seed4"}
    assert not (run / "seed3" / "cache").exists()
    settings = saved_config(run / "seed4")
    assert (settings.seed, settings.seeds, settings.cache_dir) == (4, 1, run / "cache")
    assert settings.replace(data=None).data_root == run / "data"


def test_tables_are_over_seeds(place: Path) -> None:
    table = pd.read_csv(place / "both" / "summary.csv").set_index(["method", "protocol", "tolerance"])
    own = [pd.read_csv(place / "both" / name / "summary.csv") for name in ("seed3", "seed4")]
    by_seed = [one.set_index(["method", "protocol", "tolerance"])["accuracy"] for one in own]
    for key, row in table.iterrows():
        assert row["accuracy"] == pytest.approx((by_seed[0][key] + by_seed[1][key]) / 2, abs=1e-5)
        assert (row["seeds"], row["images"]) == (2, 4)
    text = (place / "both" / "summary.md").read_text()
    assert "4 annotated test films, 2 seeds" in text
    assert "Which differences hold over seeds" in text
    further = pd.read_csv(place / "both" / "measures.csv").set_index(["measure", "method"])["value"]
    means = [pd.read_csv(place / "both" / name / "measures.csv") for name in ("seed3", "seed4")]
    each = [one.set_index(["measure", "method"])["value"] for one in means]
    for key in [("energy", "center"), ("froc", "center"), ("deletion", "normgrad_conv1x1_combined")]:
        assert further[key] == pytest.approx((each[0][key] + each[1][key]) / 2, rel=1e-4)
    seeds = pd.read_csv(place / "both" / "seeds.csv")
    assert seeds["seed"].tolist() == [3, 4]
    facts = [json.loads((place / "both" / name / "summary.json").read_text()) for name in ("seed3", "seed4")]
    assert seeds["missed"].tolist() == [one["classifier"]["missed"] for one in facts]
    environment = json.loads((place / "both" / "environment.json").read_text())
    assert environment["threads"] == 1


def test_a_seed_that_is_done_is_not_done_again_and_more_may_come(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(_run(place, "both", "--seed", "3", "--seeds", "2")) == 0
    printed = capsys.readouterr().out
    assert "seed 4, 2 of 2" in printed
    assert printed.count("nothing to do") == 3 * 2 + 1
    assert printed.count("has a trained classifier already") == 2
    (place / "both" / "differences.csv").write_text("damaged")
    assert cli.main(_run(place, "both", "--seed", "3", "--seeds", "2")) == 0
    printed = capsys.readouterr().out
    assert "differences.csv is gone or damaged; the report is made again." in printed
    assert printed.count("nothing to do") == 3 * 2
    assert (place / "both" / "differences.csv").read_text().startswith("protocol,")

    assert cli.main(_run(place, "both", "--seed", "3", "--seeds", "3")) == 0
    assert capsys.readouterr().out.count("has a trained classifier already") == 2
    assert pd.read_csv(place / "both" / "seeds.csv")["seed"].tolist() == [3, 4, 5]
    assert cli.main(_run(place, "both", "--seed", "3", "--seeds", "2")) == 0
    assert pd.read_csv(place / "both" / "seeds.csv")["seed"].tolist() == [3, 4]


def test_later_steps_go_over_all_seeds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = place / "shape"
    command = ["score", "--checkpoint", str(place / "both"), "--out", str(other), "--truth", "shape", "--quiet"]
    assert cli.main([*command, "--allow-weak"]) == cli.main(["report", "--out", str(other)]) == 0
    assert "lies in an annotated shape" in (other / "summary.md").read_text()
    assert pd.read_csv(other / "seeds.csv")["seed"].tolist() == [3, 4]
    capsys.readouterr()


def test_one_seed_and_several_are_not_mixed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(_run(place, "both", "--seed", "3")) == 2
    assert "was made with --seeds 2, not 1: choose another --out" in capsys.readouterr().err
    assert cli.main(_run(place, "both", "--seed", "3", "--seeds", "0")) == 2
    assert "--seeds is 0: it must be at least 1" in capsys.readouterr().err
    assert cli.main(["explain", str(place / "films" / "test" / "1.png"), "--checkpoint", str(place / "both")]) == 2
    assert "holds 2 seeds: choose one of them, such as" in capsys.readouterr().err


def test_runs_of_several_seeds_have_a_place_of_their_own() -> None:
    assert steps.run_directory("run", {"seeds": 3}) == Path("runs/synthetic_seeds")
    assert steps.run_directory("run", {"seeds": 1}) == Path("runs/synthetic")
