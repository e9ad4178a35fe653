"""The run directory: whose it is, and with what it was made."""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.run.config import EVALUATION, Config, flag, from_dict
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json
from benchmarks.run.stored import DamagedError, Evaluated, Measured, read_json

NEEDED = ("preset", "out", "data", "seed", "arch", "image_size", "epochs", "film_counts", "truth", "methods")
"""Settings without which ``config.json`` is damaged; others may be younger than a run, and have their default."""
EVALUATION_REMEDY = "`evaluate` once more with the same arguments writes it again, and computes nothing that is there"
PACKAGES = ("torch", "torchvision", "captum", "numpy", "lightning", "torchmetrics")


def saved_config(run: Path) -> Config:
    """The settings of an existing run directory.

    Raises:
        UserError: The folder is not a run directory, or its settings cannot be read.
    """
    refuse_evaluation(run)
    record = run_record(run)
    if record is None:
        raise UserError(f"{run} holds no run: start with `python -m benchmarks train --out {run}`.")
    return _settings(record, run / "config.json")


def refuse_evaluation(folder: Path) -> None:
    """Refuse the folder of an evaluation where a run is needed.

    Raises:
        UserError: It is one.
    """
    if (folder / EVALUATION).exists():
        raise UserError(
            f"{folder} holds an evaluation, which keeps no network: `report` and `compare` take its results, all else "
            "takes a run; choose another folder."
        )


def evaluated(folder: Path) -> Evaluated:
    """What a finished evaluation was about.

    Raises:
        DamagedError: ``evaluation.json`` is gone, damaged or of another version.
    """
    record: Evaluated = read_json(folder / EVALUATION, Evaluated, EVALUATION_REMEDY)
    return record


def read_measured(run: Path) -> Measured:
    """What was measured of the classifier of a run.

    Raises:
        DamagedError: ``classifier.json`` is gone or damaged.
    """
    remedy = f"`python -m benchmarks train --out {run}` makes it again from the checkpoint"
    measured: Measured = read_json(run / "classifier.json", Measured, remedy)
    return measured


def run_record(run: Path) -> dict[str, Any] | None:
    """What ``config.json`` says: the settings that a run was made with, and the digest of its annotations.

    Where that file is gone or damaged, the checkpoints of a training tell the same, and it is written again.

    Returns:
        The content; None for a folder without a run.

    Raises:
        UserError: The file is of another version, or damaged and no checkpoint tells.
    """
    path = run / "config.json"
    damaged = None
    if path.exists():
        try:
            record: dict[str, Any] = read_json(path, remedy="no checkpoint tells what it held, so choose another --out")
            _settings(record, path)
        except DamagedError as error:
            damaged = error
        else:
            return record
    found = _record_of_training(run)
    if found is not None:
        print(f"{path} is {'damaged' if damaged else 'gone'}; it is made again from {found[1]}.")
        write_json(path, found[0])
        return found[0]
    if damaged is not None:
        raise damaged
    return None


def _settings(record: dict[str, Any], path: Path) -> Config:
    missing = [name for name in NEEDED if name not in record]
    if missing:
        raise DamagedError(f"{path} is damaged (it lacks {flag(missing[0])}): choose another --out.")
    return from_dict(record, path)


def checkpoint_paths(run: Path) -> tuple[Path, Path]:
    """Where the checkpoints of a training are: of its best epoch, and of its last one, to go on from."""
    return run / "checkpoints" / "best.ckpt", run / "checkpoints" / "last.ckpt"


def _record_of_training(run: Path) -> tuple[dict[str, Any], Path] | None:
    for path in reversed(checkpoint_paths(run)):
        try:
            record = torch.load(path, map_location="cpu", weights_only=True)["record"]
        except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError):
            continue  # absent, damaged or without a record
        if isinstance(record, dict):
            return record, path
    return None


def write_environment(config: Config) -> None:
    """Note where and with what the results of a run directory are computed, in ``environment.json``."""
    write_json(config.out / "environment.json", environment(config))


def environment(config: Config) -> dict[str, Any]:
    """Versions and processor facts that a result may depend on; no names or paths of the machine."""
    return {
        "normgrad_attr": version("normgrad_attr"),
        **installation(PACKAGES),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        **{name: getattr(config.devices, name) for name in ("accelerator", "devices", "num_nodes", "strategy")},
    }


def installation(packages: Sequence[str]) -> dict[str, Any]:
    """Versions of Python and of packages, and what the processor is."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def version(package: str) -> str | None:
    """Version of an installed package, or None; this project's own, which a checkout has without being installed."""
    if package == "normgrad_attr":
        from normgrad_attr import __version__

        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
