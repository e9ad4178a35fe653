from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
from benchmarks.run.process import well_behaved
try:
    with well_behaved():
        print("begun", flush=True)
        {what}
        Path(sys.argv[1]).touch()
except KeyboardInterrupt:
    print("stopped")
"""


def start(what: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(what=what), str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_sigterm_is_taken_as_ctrl_c(tmp_path: Path) -> None:
    with start("time.sleep(60)", tmp_path / "done") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30) == ("stopped\n", "")
    assert process.returncode == 0
    assert not (tmp_path / "done").exists()


def test_work_goes_on_when_nobody_reads(tmp_path: Path) -> None:
    with start("[print('line', i, flush=True) for i in range(10000)]", tmp_path / "done") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""
    assert (tmp_path / "done").exists()


FULL = "stdout cannot be written (No space left on device): free space and start the same command again.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is a device of Linux")
@pytest.mark.parametrize(("stdout", "told"), [(">&-", ""), (">/dev/full", FULL)])
def test_a_stdout_that_takes_nothing(stdout: str, told: str, tmp_path: Path) -> None:
    """Commands of a daemon have none, and a log file may lie on a full disk."""
    shell = ["/bin/sh", "-c", f'exec "$0" -c "$1" "$2" {stdout}']
    program = [sys.executable, PROGRAM.format(what="print('line')"), str(tmp_path / "done")]
    done = subprocess.run([*shell, *program], stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.endswith(told)
    assert (not done.stderr) == (not told)
    assert (tmp_path / "done").exists() == (not told)


FREES = """
import resource
from benchmarks.run.process import keep_freed_memory
keep_freed_memory()
for _ in range(3):
    bytearray(20 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    bytearray(20 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is a setting of glibc")
@pytest.mark.parametrize("own_setting", [False, True])
def test_freed_memory_is_not_fetched_again(own_setting: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    if own_setting:  # the user's, under which each block comes from the kernel
        environment["MALLOC_MMAP_THRESHOLD_"] = "131072"
    done = subprocess.run([sys.executable, "-c", FREES], env=environment, capture_output=True, text=True, check=True)
    pages = 10 * 20 * 2**20 // resource.getpagesize()
    faults = int(done.stdout)
    assert faults > pages / 2 if own_setting else faults < pages / 100
