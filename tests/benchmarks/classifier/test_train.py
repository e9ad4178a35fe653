from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_training import tiny
from torch import Tensor
from torch.utils.data import DistributedSampler

from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.classifier.module import Classifier
from benchmarks.classifier.train import InOrder, train
from benchmarks.data.open_run import open_run
from benchmarks.run.config import check
from benchmarks.run.errors import UserError


class InterruptionError(Exception):
    """Stands for a kill."""


class StopAfter(Callback):
    """Break off in the middle of the epoch after the given one."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.current_epoch == self.epochs and batch_idx == 1:
            raise InterruptionError


def without_times(path: Path) -> dict[str, object]:
    content = json.loads(path.read_text())
    for entry in content["history"]:
        del entry["seconds"]
    return {name: value for name, value in content.items() if "seconds" not in name and name != "peak_memory_mb"}


def test_stopped_training_goes_on_to_the_same_numbers(films: Path, tmp_path: Path) -> None:
    whole, broken = tiny(films, tmp_path / "whole"), tiny(films, tmp_path / "broken")
    train(whole)
    for epochs in (1, 2):
        with pytest.raises(InterruptionError):
            train(broken, [StopAfter(epochs)])
    assert not (broken.out / "classifier.json").exists()
    train(broken)

    assert without_times(broken.out / "classifier.json") == without_times(whole.out / "classifier.json")
    last = [torch.load(config.out / "checkpoints" / "last.ckpt", weights_only=True) for config in (whole, broken)]
    assert last[0]["epoch"] == last[1]["epoch"] == 2
    assert last[0]["global_step"] == last[1]["global_step"] == 9
    moments = [checkpoint["optimizer_states"][0]["state"] for checkpoint in last]
    torch.testing.assert_close(moments[0], moments[1], rtol=0, atol=0)
    torch.testing.assert_close(last[0]["state_dict"], last[1]["state_dict"], rtol=0, atol=0)


@pytest.mark.parametrize("films", [2, 7, 12])
@pytest.mark.parametrize("shuffle", [True, False])
def test_films_come_in_the_order_of_torch(films: int, shuffle: bool) -> None:
    for rank in range(5):
        ours, theirs = (
            kind(range(films), num_replicas=5, rank=rank, shuffle=shuffle, seed=3)
            for kind in (InOrder, DistributedSampler)
        )
        for epoch in (0, 4):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            assert list(ours) == list(theirs)
            assert len(ours) == len(theirs)


def test_scores_are_of_every_film_once(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Classifier(tiny(films, tmp_path / "run"), torch.nn.Identity())
    monkeypatch.setattr(model, "all_gather", lambda values: values)

    def probabilities(batch: Tensor) -> Tensor:  # of the second class: a tenth of the film's grey value
        share = batch[:, 0, 0, 0] / 10
        return torch.stack([1 - share, share], dim=1).log()

    monkeypatch.setattr(model, "forward", probabilities)
    monkeypatch.setattr("benchmarks.classifier.module.normalise", Tensor.float)
    monkeypatch.setattr("benchmarks.classifier.module._BATCHES", 2)
    for numbers in ([3, 1], [2, 4], [0, 3], [1]):  # the sampler of the second device began anew
        indices = torch.tensor(numbers)
        model.test_step((indices[:, None, None, None], indices % 2, indices), 0)
    scores, labels = model._gathered()
    torch.testing.assert_close(scores, torch.arange(5) / 10)
    assert labels.tolist() == [0, 1, 0, 1, 0]


def test_finished_training_is_left_alone(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny(films, tmp_path / "run", epochs=1)
    train(config)
    before = (config.out / "classifier.json").read_bytes()
    capsys.readouterr()

    train(config)

    assert "already" in capsys.readouterr().out
    assert (config.out / "classifier.json").read_bytes() == before


def test_training_leaves_torchs_settings_alone(films: Path, tmp_path: Path) -> None:
    train(tiny(films, tmp_path / "run"))
    assert not torch.are_deterministic_algorithms_enabled()


def test_classifier_json_and_network_agree(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny(films, tmp_path / "run")
    train(config)
    result = json.loads((config.out / "classifier.json").read_text())

    assert (result["split"], result["n"], result["positives"], result["epochs"]) == ("test", 10, 5, 3)
    best_entry = result["history"][result["best_epoch"] - 1]
    assert result["unsure"] == best_entry["unsure"]
    assert 0 <= result["unsure"][0] <= 0.5 <= result["unsure"][1] <= 1
    assert result["dev_auc"] == max(entry["dev_auc"] for entry in result["history"])
    assert 0 <= result["auc"] <= 1
    assert "epoch 3/3" in capsys.readouterr().out
    network = load_classifier(config.out)
    assert not network.training
    best = torch.load(config.out / "checkpoints" / "best.ckpt", weights_only=True)
    assert len(best["history"]) == result["best_epoch"]
    assert torch.equal(network.state_dict()["fc.weight"], best["state_dict"]["network.fc.weight"])


def test_missing_classifier_is_an_error(films: Path, tmp_path: Path) -> None:
    config = tiny(films, tmp_path / "run")

    with pytest.raises(UserError, match="no trained classifier"):
        load_classifier(config.out)


def test_split_of_one_class_is_an_error(films: Path, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / split).symlink_to(films / split)
        rows = (films / f"{split}.csv").read_text().splitlines()
        (tmp_path / f"{split}.csv").write_text("\n".join(rows[:1] + (rows[2::2] if split == "dev" else rows[1:])))

    with pytest.raises(UserError, match="split dev"):
        train(tiny(tmp_path, tmp_path / "run"))


def test_other_seed_gives_another_network(films: Path, tmp_path: Path) -> None:
    runs = [tiny(films, tmp_path / str(seed), seed=seed, epochs=1) for seed in (0, 1)]
    for config in runs:
        train(config)

    first, second = (load_classifier(config.out).state_dict()["conv1.weight"] for config in runs)
    assert not torch.equal(first, second)


def test_a_training_in_mixed_precision_keeps_weights_and_measures_in_float32(films: Path, tmp_path: Path) -> None:
    config = tiny(films, tmp_path / "run", precision="bf16-mixed", epochs=1)
    train(config)

    assert {weight.dtype for weight in load_classifier(config.out).parameters()} == {torch.float32}
    assert 0 <= json.loads((config.out / "classifier.json").read_text())["auc"] <= 1
    with pytest.raises(UserError, match="--precision is '8-bit'"):
        check(config.replace(precision="8-bit"))


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("epochs", 4), ("limit", 4), ("arch", "resnet18")])
def test_run_directory_of_other_settings_is_refused(films: Path, tmp_path: Path, name: str, value: object) -> None:
    config = tiny(films, tmp_path / "run")

    with pytest.raises(UserError, match="--" + name):
        open_run(config.replace(**{name: value}))


def test_methods_and_devices_may_change(films: Path, tmp_path: Path) -> None:
    config = tiny(films, tmp_path / "run")

    open_run(config.replace(methods=("all",), devices="2", strategy="ddp"))

    assert json.loads((config.out / "config.json").read_text())["methods"] == ["all"]


def test_other_annotations_are_refused(films: Path, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / split).symlink_to(films / split)
        (tmp_path / f"{split}.csv").write_text((films / f"{split}.csv").read_text().replace("26", "27"))
    config = tiny(films, tmp_path / "run")

    with pytest.raises(UserError, match="other films or annotations"):
        open_run(config.replace(data=tmp_path))


class WorseAndWorse(Callback):
    """Lower the dev AUC of each epoch after the first one."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.result = {**pl_module.result, "auc": 0.9 - 0.1 * trainer.current_epoch}


@pytest.mark.parametrize(("patience", "trained"), [(1, 2), (2, 3), (None, 5)])
def test_a_training_ends_where_patience_does(films: Path, tmp_path: Path, patience: int | None, trained: int) -> None:
    config = tiny(films, tmp_path / "run", epochs=5, patience=patience)

    train(config, [WorseAndWorse()])

    result = json.loads((config.out / "classifier.json").read_text())
    assert (len(result["history"]), result["best_epoch"]) == (trained, 1)


def test_a_training_that_came_to_its_end_is_not_gone_on_with(films: Path, tmp_path: Path) -> None:
    config = tiny(films, tmp_path / "run", epochs=5, patience=1)
    train(config, [WorseAndWorse()])
    (config.out / "classifier.json").unlink()  # killed before it was written

    train(config, [WorseAndWorse()])

    assert len(json.loads((config.out / "classifier.json").read_text())["history"]) == 2
