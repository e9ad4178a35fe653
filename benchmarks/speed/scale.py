"""How memory and the start of a command grow with the number of films: small films, scored, reported and trained on.

``python -m benchmarks.speed.scale``. Memory is what the kernel calls anonymous, at its peak: memory maps of files are
not in it. It is read from ``/proc``, so this runs on Linux only. From the second largest set to the largest, scoring
and training may take :data:`MOST` bytes more a film: what is filled once, as caches are, is full by then. The C
library gives large blocks back at once (:data:`GIVEN_BACK`): how much of them it keeps is chance.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.classifier.network import build_network
from benchmarks.data.open_run import open_run
from benchmarks.run.config import SPLITS, Config
from benchmarks.run.directory import checkpoint_paths
from benchmarks.run.files import write_json

SIDE, KINDS, EVERY = 64, 500, 4
"""Side of the films; how many of a split differ, of which the others are links; one of how many is annotated."""
ARCH = "slim_resnet18"
MOST, BOUND = 50, ("score", "score again", "train")
"""Bytes for each further film, and the steps that may take no more; a report holds the table of all scores."""
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""A setting of glibc: blocks of a MiB and more go back to the kernel when they are freed."""
OFTEN = 0.005
"""Seconds between looks at the memory: peaks last milliseconds, and more of them are seen the longer a step takes."""


def write_set(folder: Path, most: str, films: int) -> None:
    """A set of small films.

    Args:
        folder: Its folder.
        most: The split that has most of them.
        films: In that split; a hundredth as many in each of the others.
    """
    generator = np.random.default_rng(0)
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        rows = ["image_name,annotation"]
        for number in range(films if split == most else max(films // 100, 8)):
            path = folder / split / f"{number:06d}.png"
            if number < KINDS:
                Image.fromarray(generator.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(path)
            else:
                os.link(path.with_name(f"{number % KINDS:06d}.png"), path)
            rows.append(f"{path.name},{'' if number % EVERY else '0 10 10 30 30'}")
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")


def write_run(folder: Path, films: int) -> Config:
    """A set with most of its films in the test split, and a run whose classifier has random weights.

    Args:
        folder: For both.
        films: In the test split.
    """
    write_set(folder / "data", "test", films)
    config = Config().replace(
        preset="synthetic", out=folder / "run", data=folder / "data", arch=ARCH, weights="none",
        image_size=SIDE, accelerator="cpu", methods=("center",), quiet=True, threads=1,
    )  # fmt: skip
    torch.manual_seed(0)
    best, _ = checkpoint_paths(config.out)
    best.parent.mkdir(parents=True)
    state = {f"network.{name}": value for name, value in build_network(config.arch, "none").state_dict().items()}
    torch.save({"state_dict": state}, best)
    write_json(config.out / "classifier.json", {"auc": 0.5, "accuracy": 0.5, "split": "test"})
    open_run(config)
    return config


def watched(*arguments: str) -> dict[str, float]:
    """Run a command of the suite.

    Returns:
        Its seconds, and the peak of its anonymous memory in bytes.
    """
    started, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = {**os.environ, **GIVEN_BACK}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        while process.poll() is None:
            peak = max(peak, _anonymous(process.pid))
            time.sleep(OFTEN)
        if process.returncode:
            assert process.stderr is not None
            raise RuntimeError(f"{' '.join(arguments)}: {process.stderr.read().decode()}")
    return {"seconds": time.perf_counter() - started, "bytes": peak}


def _anonymous(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measure(films: int) -> dict[str, Any]:
    """Score, score again with nothing to do, and report a set of so many films; train on one for an epoch."""
    with tempfile.TemporaryDirectory() as folder:
        config = write_run(Path(folder), films)
        out = ("--out", str(config.out), "--quiet")
        found: dict[str, Any] = {
            "score": watched("score", *out, "--allow-weak"),
            "score again": watched("score", *out, "--allow-weak"),
            "report": watched("report", *out),
        }
        found["report.html"] = (config.out / "report.html").stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "data", Path(folder) / "run"
        write_set(data, "train", films)
        recipe = ("--arch", ARCH, "--weights", "none", "--image-size", str(SIDE // 2), "--batch-size", "64")
        once = ("--epochs", "1", "--accelerator", "cpu", "--threads", "1", "--quiet")
        found["train"] = watched("train", "--data", str(data), "--out", str(run), *recipe, *once)
    return found


def slopes(table: dict[int, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Bytes for each further film, from each number of films to the next, by step.

    Args:
        table: By number of films, as of :func:`measure`.
    """
    found: dict[str, dict[str, float]] = {}
    for few, many in itertools.pairwise(sorted(table)):
        steps = [step for step, numbers in table[few].items() if isinstance(numbers, dict)]
        found[f"{few} to {many}"] = {
            step: round((table[many][step]["bytes"] - table[few][step]["bytes"]) / (many - few), 1) for step in steps
        }
    return found


def too_steep(found: dict[str, dict[str, float]]) -> list[str]:
    """Steps of which the last slopes are above the bound, where there are several sizes.

    Args:
        found: As of :func:`slopes`.
    """
    last = list(found.values())[-1:]
    return [step for slope in last for step in BOUND if slope[step] > MOST]


def main() -> None:
    """Print a line for each size of a set, and the bytes for each further film; write ``scale.json``.

    Ends with an error where these are more than :data:`MOST`.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.scale", description=__doc__)
    parser.add_argument("--films", default="1000,10000,100000", metavar="N,N", help="default: 1000,10000,100000")
    parser.add_argument("--out", type=Path, default=Path("runs/scale"), metavar="DIR", help="default: runs/scale")
    given = parser.parse_args()
    table: dict[int, dict[str, Any]] = {}
    for films in sorted(int(number) for number in given.films.split(",")):
        table[films] = measure(films)
        steps = {step: found for step, found in table[films].items() if isinstance(found, dict)}
        cells = [f"{step} {found['seconds']:.1f} s, {found['bytes'] / 2**20:.0f} MiB" for step, found in steps.items()]
        print(f"{films} films: {'; '.join(cells)}; report.html {table[films]['report.html'] / 1e6:.2f} MB", flush=True)
        write_json(given.out / "scale.json", {"sizes": table, "bytes a film": slopes(table)})
    for between, found in slopes(table).items():
        cells = [f"{step} {slope:.0f}" for step, slope in found.items()]
        print(f"bytes for each further film, {between}: {', '.join(cells)}")
    if steep := too_steep(slopes(table)):
        sys.exit(f"fail: {' and '.join(steep)} took more than {MOST} bytes for each further film of the largest set")
    if len(table) > 1:
        print(f"pass: {', '.join(BOUND)} took at most {MOST} bytes for each further film of the largest set")


if __name__ == "__main__":
    main()
