"""Lightning's checkpoints as files that are whole or absent, and that are never unpickled unsafely."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from benchmarks.classifier.checkpoints import kept, read
from benchmarks.classifier.module import Classifier
from benchmarks.run.directory import checkpoint_paths
from benchmarks.run.files import write_torch


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, renamed into place when complete and read with ``weights_only=True``.

    Lightning's own writer moves a temporary file across file systems, which a kill can cut in half.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        write_torch(Path(path), checkpoint)

    def load_checkpoint(
        self,
        path: Any,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint; it cannot run code, whatever ``weights_only`` says."""
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return content


class KeepBestAndLast(Checkpoint):
    """Write ``best.ckpt`` when the dev AUC improves, then ``last.ckpt`` to resume from, after every epoch.

    The best comes first: killed between the two, the run repeats the epoch and writes the same best again.

    Args:
        run: The run directory.
        patience: Epochs without a better dev AUC after which the training ends; ``None`` goes through all.
    """

    def __init__(self, run: Path, patience: int | None = None) -> None:
        self.best, self.last = checkpoint_paths(run)
        self.patience = patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a training that had come to its end when it was stopped."""
        assert isinstance(pl_module, Classifier)
        self._end_early(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoints of the epoch that ended."""
        assert isinstance(pl_module, Classifier)
        *before, newest = [entry["dev_auc"] for entry in pl_module.history]
        if all(newest > auc for auc in before):
            pl_module.best = {}  # it is not put into itself
            trainer.save_checkpoint(self.best)
        if not pl_module.best:
            pl_module.best = kept(read(self.best) or {})
        trainer.save_checkpoint(self.last)
        self._end_early(trainer, pl_module)

    def _end_early(self, trainer: Trainer, classifier: Classifier) -> None:
        aucs = [entry["dev_auc"] for entry in classifier.history]
        if aucs and self.patience is not None and len(aucs) - 1 - aucs.index(max(aucs)) >= self.patience:
            trainer.should_stop = True
