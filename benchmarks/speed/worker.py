"""Memory, measured in a process of its own: ``python -m benchmarks.speed.worker '{"task": ...}'`` prints JSON."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.run.errors import UserError
from benchmarks.run.process import peak_memory

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")

# Blocks of 128 KiB and more go back to the system as soon as they are freed, so that the peak is what was in use at
# one time, and not what the allocator has hoarded.
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}

_IMPORT_TIME = """
import time
import captum.attr
start = time.perf_counter()
import normgrad_attr
print(time.perf_counter() - start)
"""


def resident() -> float:
    """Resident memory now, MiB; where the system does not tell, the peak so far."""
    return _status("VmRSS") if _STATUS.exists() else _peak()


def peak_above_idle(call: Callable[[], Any]) -> float:
    """Peak resident memory during two calls above what is resident before them, MiB.

    In a process that has had a higher peak before, this is right on Linux only, where the mark can be reset.
    """
    gc.collect()
    if os.access(_CLEAR_REFS, os.W_OK):
        _CLEAR_REFS.write_text("5")
    idle = resident()
    for _ in range(2):
        call()
    return max(_peak() - idle, 0.0)


def growth(call: Callable[[], Any], calls: int, warm_up: int) -> dict[str, float]:
    """How much memory stays behind after many calls.

    The garbage collector is switched off meanwhile: tensors in reference cycles count as left behind.

    Returns:
        ``mib``: growth of the resident memory between the first and the last tenth of the calls (medians);
        ``tensors``: tensors alive after the calls beyond those alive before.
    """
    for _ in range(warm_up):
        call()
    gc.collect()
    gc.disable()
    try:
        tensors = _tensors()
        samples = []
        for _ in range(calls):
            call()
            samples.append(resident())
        left = _tensors() - tensors
    finally:
        gc.enable()
    tenth = max(calls // 10, 1)
    return {"mib": sorted(samples[-tenth:])[tenth // 2] - sorted(samples[:tenth])[tenth // 2], "tensors": left}


def in_fresh_process(**task: Any) -> Any:
    """Do a task of this module in a new Python, and return its result.

    Raises:
        UserError: The process failed, with the end of what it wrote.
    """
    command = [sys.executable, "-m", "benchmarks.speed.worker", json.dumps(task)]
    return json.loads(_run(command, {**os.environ, **_ENVIRONMENT}, f"measuring {task}"))


def import_seconds() -> float:
    """Seconds that ``import normgrad_attr`` takes in a new Python after ``import captum.attr``."""
    return float(_run([sys.executable, "-c", _IMPORT_TIME], dict(os.environ), "importing normgrad_attr"))


def _run(command: list[str], environment: dict[str, str], what: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{what} failed in a process of its own: {last}")
    return done.stdout.strip().splitlines()[-1]


def _peak() -> float:
    return _status("VmHWM") if _STATUS.exists() else peak_memory() or 0.0


def _status(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None, f"no {name} in {_STATUS}"
    return int(found[1]) / 1024


def _tensors() -> int:
    import torch

    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def _do(task: str, network: str, row: str, batch: int, size: int, threads: int, calls: int = 0) -> Any:
    import torch

    from benchmarks.speed.contenders import CONTENDERS
    from benchmarks.speed.subjects import make_case, subject

    torch.set_num_threads(threads)
    model, images, targets = make_case(network, batch, size)
    call = CONTENDERS[row].prepare(model, subject(network), images, targets)
    if task == "growth":
        return growth(call, calls, warm_up=max(calls // 10, 2))
    # Libraries are loaded and threads started by one image; the batch then finds an idle process.
    CONTENDERS[row].prepare(model, subject(network), images[:1].clone(), targets[:1])()
    return peak_above_idle(call)


if __name__ == "__main__":
    print(json.dumps(_do(**json.loads(sys.argv[1]))))
