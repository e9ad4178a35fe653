"""The two checkpoints of a training, each of which can stand in for the other, and the network that they keep.

Without Lightning, whose import takes longer than a film.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.classifier.network import build_network, weights_digest
from benchmarks.run.directory import checkpoint_paths, read_measured, saved_config
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_torch

_KEPT = ("state_dict", "history", "record")
"""What ``last.ckpt`` keeps of ``best.ckpt``: enough to use the network, not to go on with the training."""


def load_classifier(run_dir: Path) -> nn.Module:
    """Load the best network of a run.

    Args:
        run_dir: A run directory with a trained classifier.

    Returns:
        The network in evaluation mode on the CPU, channels last in memory.

    Raises:
        UserError: The directory has no trained classifier, or one that cannot be read or does not fit its architecture.
    """
    config = saved_config(run_dir)
    if config.seeds > 1:
        first = config.of_each_seed()[0].out.name
        raise UserError(f"{run_dir} holds {config.seeds} seeds: choose one of them, such as {run_dir / first}.")
    if not (run_dir / "classifier.json").exists():
        raise UserError(f"{run_dir} has no trained classifier: run `python -m benchmarks train --out {run_dir}` first.")
    state = best_checkpoint(run_dir, read_measured(run_dir).weights)["state_dict"]
    network = build_network(config.arch, "none")
    try:
        network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    except RuntimeError:
        raise UserError(
            f"{run_dir} holds the weights of another network than today's {config.arch}, which was changed since: "
            "train anew into another --out."
        ) from None
    return network.to(memory_format=torch.channels_last).eval()


def read(path: Path) -> dict[str, Any] | None:
    """A checkpoint on the CPU, or None where there is none, or no whole one; it cannot run code."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever torch makes of a damaged file
        return None
    return content if isinstance(content, dict) and isinstance(content.get("state_dict"), dict) else None


def kept(best: dict[str, Any]) -> dict[str, Any]:
    """What ``last.ckpt`` keeps of the best checkpoint."""
    return {name: best[name] for name in _KEPT if name in best}


def best_checkpoint(run: Path, weights: str | None) -> dict[str, Any]:
    """The best checkpoint of a run, made again from the last one where that is needed.

    Args:
        run: The run directory.
        weights: Digest of the weights that were measured, where that is known.

    Raises:
        UserError: Neither checkpoint has them.
    """
    path, last_path = checkpoint_paths(run)
    best = read(path)
    if best is not None and _is(best, weights):
        return best
    last = read(last_path) or {}
    spare = last.get("best")
    if isinstance(spare, dict) and isinstance(spare.get("state_dict"), dict) and _is(spare, weights):
        print(f"{path} is {_state(path)}; it is made again from {last_path.name}.")
        write_torch(path, spare)
        return spare
    raise UserError(
        f"{path} is {_state(path)}, and {last_path.name} cannot stand in for it: train anew into another --out, with "
        "the same settings and --seed for the same network."
    )


def checkpoint_to_resume(run: Path) -> Path | None:
    """Where a training goes on: after the last epoch, or after the best one where ``last.ckpt`` is damaged."""
    best, last = checkpoint_paths(run)
    if read(last) is not None:
        return last
    if not (best.exists() or last.exists()):
        return None
    content = read(best)
    if content is not None and content.get("optimizer_states"):
        epoch = len(content["history"])
        print(f"{last} is {_state(last)}; the training goes on from {best.name}, after epoch {epoch}.")
        return best
    print(f"{last} is {_state(last)}, and {best.name} does not tell how to go on; the training starts anew.")
    return None


def mend_last(run: Path) -> None:
    """See to it that a finished training has its second checkpoint, which can stand in for the first."""
    best, last = checkpoint_paths(run)
    content = read(best)
    if content is not None and read(last) is None:
        print(f"{last} is {_state(last)}; it is made again from {best.name}.")
        write_torch(last, {**content, "best": kept(content)})


def _is(checkpoint: dict[str, Any], weights: str | None) -> bool:
    try:
        return weights is None or weights_digest(checkpoint["state_dict"]) == weights
    except (AttributeError, TypeError):  # not all of them are tensors
        return False


def _state(path: Path) -> str:
    return "damaged" if path.exists() else "gone"
