"""How long the steps of a run took, in ``steps.json`` of its directory, all starts together."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json
from benchmarks.run.process import process_rank

NAME = "steps.json"


@dataclass(frozen=True)
class StepTime:
    """Of one step.

    Attributes:
        wall: Seconds.
        cpu: Seconds of all processors, those of processes that it started and waited for among them.
        starts: How often it was started.
    """

    wall: float
    cpu: float
    starts: int


@contextmanager
def timed(folder: Path, step: str) -> Iterator[None]:
    """Add to the times of a step what it takes now, also where it is stopped by an error or Ctrl-C.

    Of several processes of one command, the first notes it.

    Args:
        folder: The run directory.
        step: Its name.
    """
    wall, cpu, first = time.perf_counter(), _cpu(), process_rank() == 0

    def note() -> None:
        if first and folder.is_dir():
            times = step_times(folder)
            before = times.pop(step, StepTime(0, 0, 0))
            passed = (time.perf_counter() - wall, _cpu() - cpu)
            times[step] = StepTime(
                round(before.wall + passed[0], 2), round(before.cpu + passed[1], 2), before.starts + 1
            )
            write_json(folder / NAME, {name: asdict(of_step) for name, of_step in times.items()})

    try:
        yield
    except BaseException:
        with suppress(UserError, OSError):  # of a full disk, which is often what stopped the step: that is told
            note()
        raise
    note()


def step_times(folder: Path) -> dict[str, StepTime]:
    """Times by step, in the order in which they ended; nothing where the file is gone or damaged.

    Args:
        folder: The run directory.
    """
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return {name: StepTime(**of_step) for name, of_step in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _cpu() -> float:
    return sum(os.times()[:4])
