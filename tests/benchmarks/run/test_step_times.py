from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.run.errors import UserError
from benchmarks.run.step_times import NAME, step_times, timed


def test_starts_of_a_step_add_up_also_where_they_are_stopped(tmp_path: Path) -> None:
    with timed(tmp_path, "data"):
        pass

    def stopped() -> None:
        with timed(tmp_path, "train"):
            time.sleep(0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with timed(tmp_path, "train"):
        subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    times = step_times(tmp_path)
    assert list(times) == ["data", "train"]
    assert times["data"].starts == 1
    assert times["train"].starts == 2
    assert times["train"].wall >= 0.2
    assert times["train"].cpu > times["data"].cpu  # of the other process


@pytest.mark.parametrize("error", [UserError("scores.sqlite cannot be written"), KeyboardInterrupt()])
def test_times_that_cannot_be_written_do_not_hide_why_a_step_stopped(error: BaseException, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()

    def stopped() -> None:
        with timed(tmp_path, "train"):
            raise error

    with pytest.raises(type(error)) as found:
        stopped()
    assert found.value is error
    with pytest.raises(UserError, match=NAME), timed(tmp_path, "train"):
        pass  # nothing else is wrong, so this is told


@pytest.mark.parametrize("content", ["", "[]", '{"data": 1}', '{"data": {"walls": 1}}'])
def test_damaged_times_begin_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    assert step_times(tmp_path) == {}
    with timed(tmp_path, "data"):
        pass
    assert list(step_times(tmp_path)) == ["data"]
