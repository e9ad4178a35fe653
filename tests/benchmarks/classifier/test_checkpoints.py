from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_training import tiny

from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.classifier.train import train
from benchmarks.data.open_run import open_run
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = tiny(films, tmp_path_factory.mktemp("trained") / "run")
    train(config)
    return config


@pytest.fixture
def run(trained: Config, tmp_path: Path) -> Config:
    shutil.copytree(trained.out, tmp_path / "run")
    return trained.replace(out=tmp_path / "run")


def weights(config: Config) -> torch.Tensor:
    return torch.cat([value.flatten() for value in load_classifier(config.out).state_dict().values()])


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turned(path: Path) -> None:
    """One weight has another sign."""
    content = torch.load(path, weights_only=True)
    content["state_dict"]["network.fc.weight"].neg_()
    torch.save(content, path)


@pytest.mark.parametrize("damage", [half, turned, Path.unlink])
def test_the_best_checkpoint_is_made_again_from_the_last(
    trained: Config, run: Config, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run.out / "checkpoints" / "best.ckpt")
    assert torch.equal(weights(run), weights(trained))
    assert "best.ckpt is" in capsys.readouterr().out
    assert torch.equal(weights(run), weights(trained))
    assert capsys.readouterr().out == ""  # it is on the disk


def test_the_last_checkpoint_is_made_again_from_the_best(trained: Config, run: Config) -> None:
    best, last = (run.out / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    half(last)
    train(run)
    best.unlink()
    assert torch.equal(weights(run), weights(trained))


def test_where_neither_is_left_nothing_is_asked_to_be_deleted(run: Config) -> None:
    for path in (run.out / "checkpoints").iterdir():
        half(path)
    with pytest.raises(
        UserError, match=r"best\.ckpt is damaged, and last\.ckpt cannot .*: train anew into another --out"
    ):
        load_classifier(run.out)


@pytest.mark.parametrize("damage", [half, Path.unlink, lambda path: path.write_text("[]")])
def test_the_measurement_is_made_again(trained: Config, run: Config, damage: Callable[[Path], None]) -> None:
    damage(run.out / "classifier.json")
    train(run)
    old, new = (json.loads((config.out / "classifier.json").read_text()) for config in (trained, run))
    assert {name: new[name] for name in ("auc", "accuracy", "weights", "best_epoch", "unsure")} == {
        name: old[name] for name in ("auc", "accuracy", "weights", "best_epoch", "unsure")
    }


def test_settings_are_made_again_and_others_refused(run: Config, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.out / "config.json"
    before = json.loads(path.read_text())
    for damage in (Path.unlink, half, lambda path: path.write_text(json.dumps({**before, "seed": "five"}))):
        damage(path)
        with pytest.raises(UserError, match="was made with --seed 0, not 5"):
            open_run(run.replace(seed=5))
        assert "it is made again from" in " ".join(capsys.readouterr().out.split())
        assert {**json.loads(path.read_text()), "out": ""} == {**before, "out": ""}


class StopInEpoch(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyError


def test_a_training_goes_on_from_the_best_epoch_where_the_last_is_damaged(
    trained: Config, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(films, tmp_path / "run")
    with pytest.raises(KeyError):
        train(config, [StopInEpoch(2)])
    half(config.out / "checkpoints" / "last.ckpt")
    train(config)
    assert "goes on from best.ckpt, after epoch" in capsys.readouterr().out
    assert torch.equal(weights(config), weights(trained))


def test_threads_are_part_of_what_a_training_is_made_with(films: Path, tmp_path: Path) -> None:
    config = tiny(films, tmp_path / "run")
    with pytest.raises(KeyError):
        train(config, [StopInEpoch(1)])
    with pytest.raises(UserError, match="was trained with torch's choice of threads so far, not with --threads 3"):
        train(config.replace(threads=3))
