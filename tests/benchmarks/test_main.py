from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import __main__ as cli
from benchmarks.commands import steps
from benchmarks.commands.options import path
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.run.files import BEGUN
from benchmarks.run.process import process_rank
from benchmarks.run.stored import read_json

ROOT = Path(__file__).parents[2]
TINY = [
    "--weights", "none", "--limit", "8", "--image-size", "32", "--epochs", "2", "--batch-size", "4", "--quiet",
    "--threads", "1",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def threads() -> Iterator[None]:
    """Give torch its threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def write_films(root: Path, **options: object) -> None:
    """A set in Object-CXR layout: every second film has a bright square."""
    counts = options.get("counts", {"train": 8, "dev": 4, "test": 4})
    assert isinstance(counts, dict)
    for place, (split, count) in enumerate(counts.items()):
        (root / split).mkdir(parents=True)
        rows = [("image_name", "annotation")]
        for number in range(count):
            film = np.full((40, 40), 90 + number, dtype=np.uint8)
            film[:5, :5] = 50 * place  # no film is in two splits
            if number % 2:
                film[10:20, 10:20] = 250
            Image.fromarray(film).save(root / split / f"{number}.png")
            rows.append((f"{number}.png", "0 10 10 20 20" if number % 2 else ""))
        with (root / f"{split}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "films"
    write_films(root)
    return root


@pytest.mark.parametrize("command", [[], ["run"], ["data"], ["train"], ["score"], ["measure"], ["report"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])

    assert stop.value.code == 0
    assert "usage: python -m benchmarks" in capsys.readouterr().out


def test_user_error_is_one_line_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--preset", "object-cxr"]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: The preset object-cxr needs --data DIR")
    assert captured.err.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(UserError):
        cli.main(["run", "--preset", "object-cxr", "--debug"])


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "Stopped"),
        (OSError(28, "No space left on device", "runs/x"), 2, "No space left on device: 'runs/x'"),
    ],
)
def test_interruption_and_full_disk(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Config) -> None:
        raise error

    monkeypatch.setitem(steps.STEPS, "data", fail)

    assert cli.main(["data"]) == code
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(("ignored", "code"), [(False, -signal.SIGINT), (True, 0)])
def test_interruption_of_the_imports_is_no_traceback(tmp_path: Path, ignored: bool, code: int) -> None:
    (tmp_path / "msgspec.py").write_text(
        f"import os, signal, sys\nos.kill(os.getpid(), signal.SIGINT)\nsys.path.remove({str(tmp_path)!r})\n"
        "del sys.modules['msgspec']\nimport msgspec\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "data", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")


def test_data_reads_a_given_set_through(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "--data", str(films)]) == 0
    assert "train: 8 films, 4 with objects" in capsys.readouterr().out


def test_data_of_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "--data", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"error: --data: there is no folder {tmp_path / 'nowhere'}.\n"


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Puts a cheap writer in the place of the synthetic set; returns the list of its calls."""
    calls: list[Path] = []

    def write(root: Path, *, counts: dict[str, int], size: int, seed: int) -> None:
        calls.append(root)
        write_films(root, counts=counts)

    monkeypatch.setattr("benchmarks.synthetic.write.write_synthetic", write)
    return calls


def test_synthetic_set_is_written_once(tmp_path: Path, writer: list[Path]) -> None:
    command = ["data", "--out", str(tmp_path / "run"), "--limit", "4"]

    assert cli.main(command) == cli.main(command) == 0
    assert writer == [tmp_path / "run" / "data"]


def test_half_written_synthetic_set_is_made_anew(tmp_path: Path, writer: list[Path]) -> None:
    command = ["data", "--out", str(tmp_path / "run"), "--limit", "4"]
    assert cli.main(command) == 0
    (tmp_path / "run" / "data" / "manifest.json").rename(tmp_path / "run" / "data" / BEGUN)
    (tmp_path / "run" / "data" / "train" / "1.png").unlink()

    assert cli.main(command) == 0
    assert len(writer) == 2
    assert (tmp_path / "run" / "data" / "train" / "1.png").exists()


def test_results_of_somebody_else_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.html").write_text("mine")
    assert cli.main(["run", "--out", str(tmp_path), "--limit", "4"]) == 2
    assert "holds report.html and is no folder of a run, so nothing is written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_path_is_not_empty_and_knows_the_users_home(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "--out", ""])
    assert stop.value.code == 2
    assert "argument --out: it is empty: name a file or a folder" in capsys.readouterr().err
    assert path("~/films") == Path.home() / "films"
    assert path("~film.png") == Path("~film.png")


def test_a_misspelt_method_is_found_before_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--out", str(tmp_path / "run"), "--methods", "grad_camm"]) == 2
    assert "no method 'grad_camm'" in capsys.readouterr().err
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (["--arch", "resnet99"], "no classifier 'resnet99'"),
        (["--arch", "vit_b_32", "--image-size", "64"], "vit_b_32 does not take 64 x 64 images"),
        (["--weights", "nowhere"], "nowhere"),
        (["--weights", "synthetic", "--arch", "resnet18"], "not of resnet18"),
        (["--seeds", "2", "--weights", "imagenet"], "no ImageNet weights"),
    ],
)
def test_a_network_that_cannot_be_trained_is_found_before_the_run_is_bound_to_it(
    wrong: list[str], text: str, tmp_path: Path, writer: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    random_state = torch.get_rng_state()

    assert cli.main(["train", "--out", str(tmp_path / "run"), "--threads", "1", *wrong]) == 2
    assert text in capsys.readouterr().err
    assert not writer
    assert not (tmp_path / "run" / "config.json").exists()
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_folder_of_somebody_else_is_left_alone(
    tmp_path: Path, writer: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    treasure = tmp_path / "run" / "data" / "treasure.txt"
    treasure.parent.mkdir(parents=True)
    treasure.write_text("mine")

    assert cli.main(["data", "--out", str(tmp_path / "run"), "--limit", "4"]) == 2
    assert "is there, and not a synthetic set: choose another --out" in capsys.readouterr().err
    assert treasure.read_text() == "mine"
    assert not writer


@pytest.mark.parametrize(
    ("rank", "variables"),
    [
        (0, {}),
        (3, {"RANK": "3", "LOCAL_RANK": "0"}),
        (2, {"SLURM_PROCID": "2"}),
        (1, {"LOCAL_RANK": "0", "NODE_RANK": "1"}),
        (0, {"LOCAL_RANK": "0", "NODE_RANK": "0"}),
    ],
)
def test_one_process_of_all_is_the_first(rank: int, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert process_rank() == rank


@pytest.mark.parametrize(
    "wrong", [["--accelerator", "foo"], ["--devices", "0"], ["--devices", "abc"], ["--strategy", "foo"]]
)
@pytest.mark.parametrize("command", ["train", "score"])
def test_devices_that_are_not_there_are_a_sentence(
    command: str, wrong: list[str], trained: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data", str(films), "--out", str(tmp_path / "run"), *TINY]
    if command == "score":
        shutil.copytree(trained, tmp_path / "run")
        where = ["--out", str(tmp_path / "run"), "--methods", "center", "--allow-weak"]

    assert cli.main([command, *where, *wrong]) == 2
    assert f"{wrong[0]} {wrong[1]}" in (error := capsys.readouterr().err)
    assert "cannot be had on this machine" in error
    assert command == "score" or not (tmp_path / "run" / "cache").exists()  # before the films are decoded


def test_only_the_first_process_writes(
    tmp_path: Path, films: Path, writer: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, given = ["data", "--out", str(tmp_path / "run"), "--limit", "4"], ["data", "--data", str(films)]
    assert cli.main(own) == 0
    capsys.readouterr()

    monkeypatch.setenv("RANK", "1")
    assert cli.main(own) == cli.main(given) == 0

    assert len(writer) == 1
    assert capsys.readouterr().out == ""


def test_synthetic_set_of_another_seed_is_refused(
    tmp_path: Path, writer: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["data", "--out", str(tmp_path / "run"), "--limit", "4"]
    assert cli.main(command) == 0

    assert cli.main([*command, "--data-seed", "1"]) == 2
    assert "--data-seed 0, not 1" in capsys.readouterr().err


def test_train_writes_a_run_directory_without_names_of_the_machine(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    aloud = [word for word in TINY if word != "--quiet"]

    assert cli.main(["train", "--data", str(films), "--out", str(out), *aloud]) == 0

    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()][3:5] == ["epoch 1/2", "epoch 2/2"]

    assert read_json(out / "classifier.json")["split"] == "test"
    assert read_json(out / "config.json")["epochs"] == 2
    environment = (out / "environment.json").read_text()
    assert '"torch"' in environment
    assert os.uname().nodename not in environment
    assert str(tmp_path) not in environment


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert cli.main(["train", "--data", str(films), "--out", str(out), *TINY]) == 0
    return out


def test_train_with_other_settings_names_the_setting(
    films: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(films), "--out", str(trained), *TINY]

    assert cli.main([*command, "--epochs", "3"]) == 2
    assert "--epochs 2, not 3" in capsys.readouterr().err


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The settings that scoring was called with."""
    calls: list[Config] = []
    monkeypatch.setitem(steps.STEPS, "score", calls.append)
    return calls


def test_score_takes_the_settings_of_the_run(trained: Path, films: Path, scored: list[Config]) -> None:
    assert cli.main(["score", "--out", str(trained), "--methods", "center,random"]) == 0

    (config,) = scored
    assert (config.image_size, config.limit, config.data_root) == (32, 8, films)
    assert config.scoring.methods == ("center", "random")
    assert config.classifier_dir == trained


def test_score_of_another_run_may_change_the_truth(trained: Path, tmp_path: Path, scored: list[Config]) -> None:
    out = tmp_path / "other"

    assert cli.main(["score", "--checkpoint", str(trained), "--out", str(out), "--truth", "shape"]) == 0

    (config,) = scored
    assert (config.classifier_dir, config.out, config.scoring.truth) == (trained, out, "shape")
    assert not (out / "classifier.json").exists()  # it has none of its own


def test_score_refuses_other_settings(trained: Path, scored: list[Config], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "--out", str(trained), "--truth", "shape"]) == 2
    assert "--truth box, not shape" in capsys.readouterr().err
    assert not scored


def test_score_without_a_run(tmp_path: Path, scored: list[Config], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "--out", str(tmp_path / "empty")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_films_of_the_users_own_ask_for_the_recipe_made_for_them(films: Path) -> None:
    config = steps.configure("train", {"data": films})
    assert (config.preset, config.weights, config.out) == ("films", "synthetic", Path("runs/films"))
    assert steps.configure("train", {"data": films, "preset": "synthetic"}).weights == "none"
    assert steps.configure("train", {}).preset == "synthetic"


def test_a_classifier_that_guesses_is_not_scored_unasked(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.scoring.score.score", lambda config: print("scored"))
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    facts = json.loads((run / "classifier.json").read_text())
    assert (facts["dev_n"], facts["dev_positives"]) == (4, 2)
    (run / "classifier.json").write_text(json.dumps({**facts, "dev_auc": 0.5, "dev_n": 200, "dev_positives": 100}))
    assert cli.main(["score", "--out", str(run)]) == 2
    assert "guesses: its AUC on 200 dev films is 0.50" in capsys.readouterr().err
    assert cli.main(["score", "--out", str(run), "--allow-weak"]) == 0
    assert capsys.readouterr().out.strip() == "scored"


def test_a_value_that_begins_with_a_minus(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "--value-range", "-1,1"])
    assert stop.value.code == 2
    said = "argument --value-range: expected one argument; one that begins with a minus goes behind an equals sign, as"
    assert f"{said} --value-range=VALUE" in " ".join(capsys.readouterr().err.split())
    assert cli.build_parser().parse_args(["evaluate", "--value-range=-1,1"]).value_range == (-1, 1)
