from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.run import files
from benchmarks.run.errors import UserError
from benchmarks.run.files import clear_partials, filled_folder, whole_file, write_csv, write_json, write_parquet


def test_a_file_is_as_before_until_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with whole_file(path) as stream:
        stream.write(b"first")
        assert not path.exists()
    with pytest.raises(UnicodeEncodeError), whole_file(path) as stream:
        stream.write(b"second" + "\udcff".encode())
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("code", "remedy"), [(errno.ENOSPC, "free space"), (errno.EROFS, "folder can be written")])
def test_an_error_of_the_disk_is_a_sentence(tmp_path: Path, code: int, remedy: str) -> None:
    path = tmp_path / "table.json"
    with pytest.raises(UserError, match=f"table.json cannot be written .*: .*{remedy}"), whole_file(path):
        raise OSError(code, os.strerror(code))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", ["while it is filled", "while it is emptied", "at once"])
def test_a_folder_whose_filling_was_stopped_is_filled_anew(
    stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"

    def fill(*, stopped: bool = False) -> None:
        with filled_folder(folder, "somebody else's"):
            assert [path.name for path in folder.iterdir()] == [files.BEGUN]
            (folder / "films").mkdir()
            (folder / "films" / "1.png").touch()
            (folder / "link").symlink_to(tmp_path)
            if stopped:
                raise KeyboardInterrupt

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if stop == "at once":
        folder.mkdir()  # and not marked yet
    else:
        with pytest.raises(KeyboardInterrupt):
            fill(stopped=True)
    if stop == "while it is emptied":
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", interrupt)
            with pytest.raises(KeyboardInterrupt):
                fill()
    fill()
    assert sorted(path.name for path in folder.iterdir()) == ["films", "link"]
    with pytest.raises(UserError, match="somebody else's"):
        fill()
    assert (folder / "films" / "1.png").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is a device of Linux")
def test_a_full_disk_does_not_hide_why_the_writing_stopped(tmp_path: Path) -> None:
    def stopped() -> None:
        with whole_file(tmp_path / "table.json") as stream, Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), stream.fileno())
            stream.write(b"waits for more")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match=r"a\.json cannot be written"):
        write_json(tmp_path / "run" / "a.json", {})


def test_tables_come_back(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": ["a", "bä"], "value": [0.1, 2.0]})
    write_parquet(tmp_path / "t.parquet", [table])
    write_csv(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "name,value\na,0.1\nbä,2\n"


def test_a_table_in_parts_is_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART", 3)
    monkeypatch.setattr(files, "GROUP", 6)
    table = pd.DataFrame({"name": list("abcdefghij"), "x": pd.array([1, None, *range(8)], "Int64")})
    write_parquet(tmp_path / "whole.parquet", [table])
    write_parquet(tmp_path / "parts.parquet", (table.iloc[start : start + 3] for start in range(0, 10, 3)))
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "parts.parquet"), table)
    write_parquet(tmp_path / "empty.parquet", [table.iloc[:0]])
    assert list(pd.read_parquet(tmp_path / "empty.parquet")) == ["name", "x"]


def test_partials_of_dead_processes_are_cleared(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from benchmarks.run.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as stream: os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "sub" / "dead")], timeout=60)
    (tmp_path / "mine.partial").write_text("of nobody known")
    assert len(list((tmp_path / "sub").iterdir())) == 1
    with whole_file(tmp_path / "alive") as stream:
        clear_partials(tmp_path)
        assert sorted(path.name for path in tmp_path.rglob("*.partial")) == sorted(
            [Path(stream.name).name, "mine.partial"]
        )
