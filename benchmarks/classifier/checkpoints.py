"""Loads the network of a trained run; without Lightning, whose import takes longer than a film."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmarks.classifier.network import build_network
from benchmarks.classifier.repair import best_checkpoint
from benchmarks.run.directory import read_measured, saved_config
from benchmarks.run.errors import UserError


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
