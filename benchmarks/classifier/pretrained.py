"""A body to start from where ImageNet weights cannot be had: that of a classifier trained on synthetic films.

Real films of thin objects teach a network nothing that starts from random numbers; the same network learns them in an
epoch or two from this one. It is a plain run of the synthetic preset in the user's cache folder, made once for all
later runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.run.config import FREE_SETTINGS
from benchmarks.run.errors import UserError
from benchmarks.run.files import user_cache
from benchmarks.run.presets import make_config
from benchmarks.run.process import process_rank

PRESET = "synthetic"
ROOT = Path(__file__).parents[2]
# What tells a process that it is one of several; the training below is not.
_OF_SEVERAL = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_", "TORCHELASTIC_", "SLURM_")


def synthetic_run() -> Path:
    """Run directory of the synthetic body, whether it is there or not.

    The name depends on the recipe and on the programs that draw the films, so that a changed recipe is never mistaken
    for what was trained before.
    """
    recipe = {name: value for name, value in make_config(PRESET, {}).to_dict().items() if name not in FREE_SETTINGS}
    digest = hashlib.sha256(repr(sorted(recipe.items())).encode())
    for path in sorted((ROOT / "benchmarks" / "synthetic").glob("*.py")):
        digest.update(path.read_bytes())
    return user_cache(f"synthetic-{digest.hexdigest()[:12]}")


def make_synthetic_run() -> Path:
    """Train the synthetic body unless it is there; a training that was stopped goes on.

    Returns:
        Its run directory.

    Raises:
        UserError: The training failed.
    """
    run = synthetic_run()
    done = run / "classifier.json"
    if process_rank() > 0:
        while not done.exists():  # process 0 makes it
            time.sleep(1)
    if done.exists():
        return run
    print(f"--weights synthetic: training a body on synthetic films first, once for all runs, into {run}", flush=True)
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks", "train", "--preset", PRESET, "--out", str(run), "--quiet"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith(_OF_SEVERAL)}
    finished = subprocess.run(command, cwd=ROOT, env=alone, check=False)
    if finished.returncode != 0:
        raise UserError(
            f"--weights synthetic: the training of the body did not end (see above). Start again to go on with it, or "
            f"do it by itself: python {' '.join(command[1:-1])}."
        )
    for films in ("data", "cache"):  # only the weights are needed from here on
        shutil.rmtree(run / films, ignore_errors=True)
    print(f"--weights synthetic: done in {(time.perf_counter() - started) / 60:.1f} minutes", flush=True)
    return run
