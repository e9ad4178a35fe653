from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

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
