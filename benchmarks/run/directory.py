"""The run directory: whose it is, and with what it was made."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.run.config import Config, from_dict
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json
from benchmarks.run.versions import version

SPLITS = ("train", "dev", "test")
PACKAGES = ("torch", "torchvision", "captum", "numpy", "lightning", "torchmetrics")


def process_rank() -> int:
    """Number of this process among those that torchrun, SLURM or Lightning started; 0 where there is only one.

    Only process 0 writes what all share.
    """
    ranks = {name: os.environ.get(name, "") for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")}
    known = {name: int(rank) for name, rank in ranks.items() if rank.isdigit()}
    for of_all in ("RANK", "SLURM_PROCID"):
        if of_all in known:
            return known[of_all]
    return sum(known.values())  # only whether it is 0 counts


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is not a JSON file: delete the run directory and start again.") from None


def saved_config(run: Path) -> Config:
    """The settings of an existing run directory.

    Raises:
        UserError: The folder is not a run directory.
    """
    path = run / "config.json"
    if not path.exists():
        raise UserError(f"{run} holds no run: start with `python -m benchmarks train --out {run}`.")
    content = read_json(path)
    content.pop("annotations", None)
    return from_dict(content)


def write_environment(config: Config) -> None:
    """Note where and with what the results of a run directory are computed, in ``environment.json``."""
    write_json(config.out / "environment.json", environment(config))


def environment(config: Config) -> dict[str, Any]:
    """Versions and processor facts that a result may depend on; no names or paths of the machine."""
    return {
        "normgrad_attr": version("normgrad_attr"),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        **{name: getattr(config.devices, name) for name in ("accelerator", "devices", "num_nodes", "strategy")},
    }
