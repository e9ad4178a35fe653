from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.run.errors import UserError
from benchmarks.run.files import whole_file
from benchmarks.run.lock import only_one

HOLD = """
import sys, time
from pathlib import Path
from benchmarks.run.lock import only_one
with only_one(Path(sys.argv[1]), "results", "score"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_directory_is_held_by_one_process_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=rf"in use by `score` \(process {holder.pid}\) since \d{{4}}-\d\d-\d\d "),
            only_one(tmp_path, "results", "train"),
        ):
            pass
        with only_one(tmp_path, "report", "report"):  # which writes other files
            pass
        holder.kill()
        holder.wait()
        with only_one(tmp_path, "results", "train"):
            told = json.loads((tmp_path / ".lock.results").read_text())
            assert (told["process"], told["command"]) == (os.getpid(), "train")
    assert (tmp_path / ".lock.results").read_text() == ""


def test_partials_are_cleared_at_the_start(tmp_path: Path) -> None:
    with whole_file(tmp_path / "alive") as stream:
        dead = tmp_path / Path(stream.name).name.replace(f"-{os.getpid()}-", "-999999999-")
        dead.touch()
        with only_one(tmp_path, "results", "train"):
            assert not dead.exists()
            assert Path(stream.name).exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".lock.results").mkdir()
    with pytest.raises(UserError, match="cannot be written"), only_one(tmp_path, "results", "train"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is a device of Linux")
def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".lock.results").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"lock\.results cannot be written"), only_one(tmp_path, "results", "train"):
        pass


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it is a folder of Linux")
def test_a_disk_that_goes_away_does_not_hide_why_a_command_stopped(tmp_path: Path) -> None:
    def stopped() -> None:
        with only_one(tmp_path, "results", "train"):
            lock = (tmp_path / ".lock.results").stat()
            for number in map(int, os.listdir("/proc/self/fd")):
                with suppress(OSError):
                    if os.path.samestat(os.fstat(number), lock):
                        os.dup2(os.open(os.devnull, os.O_RDONLY), number)  # which cannot be truncated
            raise UserError("the first")

    with pytest.raises(UserError, match="the first"):
        stopped()
