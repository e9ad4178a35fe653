"""What becomes of the processes that draw films when one of them is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to see other processes")


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "benchmarks", "data", "--out", str(out), "--quiet", *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def workers(parent: int) -> list[int]:
    """Its children that draw, once they do."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def draws(out: Path) -> bool:
    return any((out / "data" / "train").glob("*.jpg"))


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    parent = start(tmp_path)
    wait_for(lambda: draws(tmp_path))
    drawing = workers(parent.pid)
    assert drawing

    parent.send_signal(how)
    parent.communicate(timeout=60)

    wait_for(lambda: not any(is_running(worker) for worker in drawing))


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="new processes ignore it, too")
def test_ctrl_c_is_answered_once(tmp_path: Path) -> None:
    """A terminal sends it to all processes, here to one that waits for more to draw: the other draws 16 films."""
    parent = start(tmp_path, "--limit", "17")
    wait_for((tmp_path / "data" / "train" / "00017.jpg").exists)
    time.sleep(0.2)

    os.killpg(parent.pid, signal.SIGINT)
    _, said = parent.communicate(timeout=60)

    assert parent.returncode == 130
    assert said.strip().splitlines()[-1].startswith("Stopped")
    assert "Traceback" not in said


def test_a_worker_that_dies_is_a_sentence(tmp_path: Path) -> None:
    parent = start(tmp_path)
    wait_for(lambda: draws(tmp_path))

    subprocess.run(["kill", "-9", str(workers(parent.pid)[0])], check=True)
    _, said = parent.communicate(timeout=60)

    assert parent.returncode == 2
    assert said.strip().splitlines()[-1].startswith("error: A process that draws films was ended")
    assert "Traceback" not in said
