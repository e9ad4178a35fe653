from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.classifier import pretrained
from benchmarks.classifier.network import build_network
from benchmarks.classifier.pretrained import make_synthetic_run, synthetic_run
from benchmarks.run.errors import UserError
from benchmarks.run.presets import PRESETS, make_config


@pytest.fixture
def trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The trainings that were asked for; each leaves what a training leaves."""
    asked: list[dict[str, Any]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append({"command": command, **options})
        folder = Path(command[command.index("--out") + 1])
        (folder / "data").mkdir(parents=True)
        (folder / "classifier.json").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_the_body_is_trained_once_and_its_films_are_not_kept(trainings: list[Any], tmp_path: Path) -> None:
    first, second = make_synthetic_run(), make_synthetic_run()
    assert first == second == synthetic_run()
    assert first.parent == tmp_path / "normgrad_attr"
    assert len(trainings) == 1
    assert [path.name for path in first.iterdir()] == ["classifier.json"]


def test_the_training_knows_nothing_of_other_processes(trainings: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_PROCID"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("KEPT", "1")
    make_synthetic_run()
    (asked,) = trainings
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_PROCID"} & set(asked["env"])
    assert asked["env"]["KEPT"] == "1"


def test_a_training_that_fails_is_a_sentence(trainings: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2))
    with pytest.raises(UserError, match="did not end"):
        make_synthetic_run()


def test_another_recipe_or_other_films_are_another_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = synthetic_run()
    monkeypatch.setitem(PRESETS, "synthetic", {**PRESETS["synthetic"], "epochs": 99})
    recipe = synthetic_run()
    # Not named by the preset, but by the default of all settings.
    monkeypatch.setattr(pretrained, "make_config", lambda preset, _: make_config(preset, {"batch_size": 99}))
    default = synthetic_run()
    (tmp_path / "benchmarks" / "synthetic").mkdir(parents=True)
    (tmp_path / "benchmarks" / "synthetic" / "objects.py").write_text("# drawn otherwise")
    monkeypatch.setattr(pretrained, "ROOT", tmp_path)
    assert len({before, recipe, default, synthetic_run()}) == 4


def test_the_checkpoint_of_a_run_is_a_start(tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained = build_network("slim_resnet18", "none")
    state = {f"network.{name}": value for name, value in trained.state_dict().items()}
    (tmp_path / "checkpoints").mkdir()
    torch.save({"state_dict": state, "history": []}, tmp_path / "checkpoints" / "best.ckpt")
    for weights in (tmp_path, tmp_path / "checkpoints" / "best.ckpt"):
        started = build_network("slim_resnet18", str(weights))
        torch.testing.assert_close(started.state_dict(), trained.state_dict(), rtol=0, atol=0)


def test_a_folder_without_a_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        build_network("slim_resnet18", str(tmp_path))
