"""A process of its own: its limits, its death, and what it had found until then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.zoo.isolation import processes, run_isolated

PLENTY = 4096


def finds(*parts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from parts


def sleeps() -> Iterator[dict[str, Any]]:
    yield {"found": 1, "stage": "a nap"}
    time.sleep(60)


def allocates() -> Iterator[dict[str, Any]]:
    yield {"found": 1, "stage": "taking memory"}
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1 << 20)) * 16)
        time.sleep(0.01)


def dies() -> Iterator[dict[str, Any]]:
    yield {"found": 1, "stage": "dying"}
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)


def raises() -> Iterator[dict[str, Any]]:
    yield {"found": 1, "stage": "failing"}
    raise LookupError("no such\nthing")


@pytest.fixture(scope="module")
def context() -> Any:
    return processes([])


def test_parts_are_put_together(context: Any) -> None:
    record = run_isolated(context, finds, ({"a": 1, "stage": "x"}, {"b": 2, "a": 3, "stage": "y"}), 60, PLENTY)
    assert record == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("work", "seconds", "mib", "stage", "cause"),
    [
        (sleeps, 5, PLENTY, "a nap", "the limit of 5 s"),
        (allocates, 60, 512, "taking memory", "the limit of 512 MiB"),
        (dies, 60, PLENTY, "dying", "the process died of SIGSEGV"),
        (raises, 60, PLENTY, "failing", "LookupError: no such thing"),
    ],
)
def test_what_stops_is_reported_with_what_it_had_found(
    context: Any, work: Any, seconds: float, mib: float, stage: str, cause: str
) -> None:
    start = time.monotonic()
    assert run_isolated(context, work, (), seconds, mib) == {"found": 1, "stage": stage, "stopped": cause}
    assert time.monotonic() - start < 55


IMPORTS = """
import time
from benchmarks.zoo.isolation import processes, run_isolated
try:
    context = processes(["torch"])
    print("begun", flush=True)
    run_isolated(context, time.sleep, (60,), 60, 4096)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="new processes ignore it, too")
def test_ctrl_c_is_answered_once() -> None:
    """A terminal sends it to all processes, here to one that is still importing; what that starts ends at once."""
    words = [sys.executable, "-c", IMPORTS]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=30) == ("stopped\n", "")
