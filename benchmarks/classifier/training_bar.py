"""One progress bar over the whole training, with the time left."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class TrainingBar(ProgressBar):
    """Shows epoch, loss and time left on stderr while it is a terminal; lines for a log file go to stdout."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("Training", total=None)
        self._enabled = True

    @property
    def is_enabled(self) -> bool:
        """Whether anything is shown; ``LightningModule.print`` asks."""
        return self._enabled

    def enable(self) -> None:
        """Show the bar (Lightning calls this on the first process)."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing (Lightning calls this on the others)."""
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start at the step that the training starts at."""
        self._bar.update(self._task, total=int(trainer.estimated_stepping_batches), completed=trainer.global_step)
        if self._enabled:
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on by one step."""
        loss = float(trainer.callback_metrics["loss"])
        epoch = f"Training, epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, loss {loss:.3f}"
        self._bar.update(self._task, completed=trainer.global_step, description=epoch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar, also after an error."""
        self._bar.stop()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line that stays; rich moves it above the bar."""
        if self._enabled:
            print(*args, **kwargs)
