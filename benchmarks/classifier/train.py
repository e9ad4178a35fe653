"""Train the classifier of a run, from the start or from the last finished epoch."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything
from torch.utils.data import DataLoader, DistributedSampler

from benchmarks.classifier.checkpoint_files import KeepBestAndLast, SafeCheckpointIO
from benchmarks.classifier.checkpoints import best_checkpoint, checkpoint_to_resume, mend_last, read
from benchmarks.classifier.module import Classifier
from benchmarks.classifier.network import build_network, check_network, weights_digest
from benchmarks.classifier.pretrained import PRESET, make_synthetic_run
from benchmarks.classifier.training_bar import TrainingBar
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import read_split
from benchmarks.run.config import SPLITS, Config
from benchmarks.run.devices import plain_device_errors
from benchmarks.run.directory import checkpoint_paths, read_measured, run_record, write_environment
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json
from benchmarks.run.presets import PRESETS
from benchmarks.run.process import peak_memory, process_rank
from benchmarks.run.stored import DamagedError


class Films(LightningDataModule):
    """The three splits as batches of (uint8 films (N, 1, S, S), labels (N,), positions (N,)).

    Every loader has a distributed sampler, also on one device, so that order is a function of seed and epoch alone.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self._sets: dict[str, FilmDataset] = {}

    def prepare_data(self) -> None:
        """Decode all films once, in one process; damaged films show here, before the training."""
        for split in SPLITS:
            self._open(split)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training films."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Dev films in order."""
        return self._loader("dev", shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Test films in order."""
        return self._loader("test", shuffle=False)

    def labels(self, split: str) -> npt.NDArray[np.uint8]:
        """Labels of the films of a split."""
        return self._open(split).labels

    def _open(self, split: str) -> FilmDataset:
        if split not in self._sets:
            records = read_split(self.config.data_root, split, self.config.limit)
            if not records.has_both_classes:
                raise UserError(f"The split {split} of {self.config.data_root} needs films with and without objects.")
            self._sets[split] = FilmDataset(records, self.config.image_size, self.config.cache_dir)
        return self._sets[split]

    def _loader(self, split: str, shuffle: bool) -> DataLoader[Any]:
        assert self.trainer is not None
        films, world = self._open(split), self.trainer.world_size
        if self.config.batch_size % world:
            raise UserError(
                f"--batch-size {self.config.batch_size} cannot be shared by {world} devices: make it a multiple."
            )
        batch = self.config.batch_size // world
        sampler = InOrder(
            films,
            num_replicas=world,
            rank=self.trainer.global_rank,
            shuffle=shuffle,
            seed=self.config.seed,
        )
        # A last batch of one film would break batch normalisation.
        drop_last = shuffle and len(sampler) > batch
        on_gpu = self.trainer.strategy.root_device.type != "cpu"
        return DataLoader(
            films, batch, sampler=sampler, drop_last=drop_last, num_workers=4 if on_gpu else 0,
            pin_memory=on_gpu, persistent_workers=on_gpu,
        )  # fmt: skip


class InOrder(DistributedSampler[int]):
    """The order of ``DistributedSampler``, whose list of numbers takes five times the memory of this tensor."""

    def __iter__(self) -> Iterator[int]:
        """Positions of this process's films."""
        films = len(self.dataset)  # type: ignore[arg-type]
        if self.shuffle:
            order = torch.randperm(films, generator=torch.Generator().manual_seed(self.seed + self.epoch))
        else:
            order = torch.arange(films)
        for place in range(self.rank, self.total_size, self.num_replicas):
            yield int(order[place % films])  # the first once more, until all processes have as many


def check_start(config: Config) -> None:
    """Refuse a network or weights that no training can start from, before films are looked at for it.

    A run directory belongs to its settings from then on, so that those could not be mended in it.

    Raises:
        UserError: There is no such architecture, it does not take films of that size, or its weights cannot be had.
    """
    first = config.of_each_seed()[0]
    if any(path.exists() for path in checkpoint_paths(first.out)):
        return
    if config.weights == "synthetic":
        _refuse_other_than_synthetic(config.arch)
    weights = "none" if config.weights == "synthetic" else config.weights
    with torch.random.fork_rng(devices=[]):
        check_network(build_network(config.arch, weights), config.arch, config.image_size)


def train(config: Config, callbacks: list[Callback] | None = None) -> None:
    """Train, keep the checkpoint with the best dev AUC, and measure it on the test split.

    Writes ``checkpoints/best.ckpt``, ``checkpoints/last.ckpt`` and ``classifier.json`` in the run directory. A run that
    was stopped goes on after its last finished epoch and ends with the numbers of an uninterrupted one.

    Args:
        config: The settings; the data and the run directory must be in place.
        callbacks: Further Lightning callbacks.

    Raises:
        UserError: Data or weights that cannot be used.
    """
    if _is_trained(config):
        print(f"{config.out} has a trained classifier already.")
        return
    if process_rank() == 0:
        write_environment(config)
    started = time.perf_counter()
    resume = checkpoint_to_resume(config.out)
    if resume is not None:
        _refuse_other_threads(config, resume)
    seed_everything(config.seed, verbose=False)
    network = build_network(config.arch, "none" if resume else _start(config))
    model, films = Classifier(config, network), Films(config)
    model.record = run_record(config.out) or config.to_dict()
    with _calm_lightning(), _as_it_was():
        keep = KeepBestAndLast(config.out, config.patience)
        trainer = make_trainer(config, [keep, *(callbacks or [])])
        if trainer.strategy.root_device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        try:
            trainer.fit(model, films, ckpt_path=resume)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from stop
        best = best_checkpoint(config.out, None)
        model.load_state_dict(best["state_dict"])
        trainer.test(model, films, verbose=False)
    if trainer.is_global_zero:
        dev = films.labels("dev")
        write_json(config.out / "classifier.json", _summary(config, model, len(best["history"]), started, dev))
        print(f"test AUC {model.result['auc']:.4f}, accuracy {model.result['accuracy']:.3f}")


def _is_trained(config: Config) -> bool:
    """Whether the training is finished and measured; checkpoints that were damaged since are made again."""
    if not (config.out / "classifier.json").exists():
        return False
    try:
        measured = read_measured(config.out)
    except DamagedError:
        print(f"{config.out / 'classifier.json'} is damaged; it is made again from the checkpoint.")
        return False
    if process_rank() == 0:
        best_checkpoint(config.out, measured.weights)
        mend_last(config.out)
    return True


def _refuse_other_threads(config: Config, resume: Path) -> None:
    """A training ends with the same numbers only if it sums in the same order."""
    record = (read(resume) or {}).get("record") or {}
    then, now = record.get("threads"), config.devices.threads
    if record and then != now:
        words = {value: "torch's choice of threads" if value is None else f"--threads {value}" for value in (then, now)}
        raise UserError(
            f"{config.out} was trained with {words[then]} so far, not with {words[now]}: start it as before, or choose "
            "another --out."
        )


def _start(config: Config) -> str:
    """Weights to start from, as :func:`build_network` takes them."""
    if config.weights != "synthetic":
        return config.weights
    _refuse_other_than_synthetic(config.arch)
    return str(make_synthetic_run())


def _refuse_other_than_synthetic(arch: str) -> None:
    synthetic = PRESETS[PRESET]["arch"]
    if arch != synthetic:
        raise UserError(f"--weights synthetic are those of {synthetic}, not of {arch}: choose that --arch, or a file.")


def _summary(
    config: Config, model: Classifier, best_epoch: int, started: float, dev: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    memory = peak_memory()
    return {
        **model.result,
        "split": "test",
        "weights": weights_digest(model.network.state_dict()),
        "dev_auc": model.history[best_epoch - 1]["dev_auc"],
        "dev_accuracy": model.history[best_epoch - 1]["dev_accuracy"],
        "dev_n": len(dev),
        "dev_positives": int(dev.sum()),
        "unsure": model.history[best_epoch - 1].get("unsure"),
        "best_epoch": best_epoch,
        "epochs": config.epochs,
        "history": model.history,
        "arch": config.arch,
        "image_size": config.image_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(sum(entry["seconds"] for entry in model.history), 1),
        "seconds_last_start": round(time.perf_counter() - started, 1),
        "peak_memory_mb": None if memory is None else round(memory),
    }


def make_trainer(config: Config, callbacks: list[Callback]) -> Trainer:
    """A Lightning trainer with the devices of the command line and nothing written by Lightning itself."""
    if not config.quiet:
        callbacks = [*callbacks, TrainingBar()]
    with plain_device_errors(config):
        return Trainer(
            **config.devices.for_lightning(),
            precision=config.precision,  # type: ignore[arg-type]  # it was checked
            max_epochs=config.epochs,
            callbacks=callbacks,
            plugins=[SafeCheckpointIO()],
            logger=False,
            enable_checkpointing=True,
            enable_progress_bar=not config.quiet,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            deterministic="warn",
            default_root_dir=config.out,
        )


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what a training asks of torch: scoring is to run as it does in a process alone.

    Lightning asks for deterministic algorithms, and we on a GPU for tensor cores, which round factors to ten bits.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    products = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.set_float32_matmul_precision(products)


@contextmanager
def _calm_lightning() -> Iterator[None]:
    """Silence Lightning's notices on devices and loader workers, which tell the user nothing here."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        log.setLevel(logging.WARNING)
        try:
            yield
        finally:
            log.setLevel(level)
