from __future__ import annotations

import sqlite3

import pytest

from benchmarks.run.errors import UserError
from benchmarks.scoring.store import SCORE_COLUMNS, ScoreStore


def row(image="1.png", method="a", **values):
    plain = {**dict.fromkeys(SCORE_COLUMNS[:-1], 0), "protocol": "fair", "explains": "predicted", "status": "ok"}
    return {**plain, "image": image, "method": method, **values}


@pytest.fixture
def store(tmp_path):
    store = ScoreStore(tmp_path / "scores.sqlite", "digest")
    yield store
    store.close()


def test_what_is_written_is_there_for_another_process(store):
    store.write_unit(3, "a", [row(x=5, y=None, distance=1.5), row("0.png")])
    other = ScoreStore(store.path, "digest")
    assert other.finished() == {(3, "a")}
    scores = other.scores()
    assert scores["image"].tolist() == ["0.png", "1.png"]
    assert tuple(scores.columns) == SCORE_COLUMNS
    assert scores["x"].tolist() == [0, 5]
    assert scores["y"].isna().tolist() == [False, True]
    assert scores["batch"].tolist() == [3, 3]
    other.close()


def test_digests_do_not_see_each_other(store):
    store.write_unit(0, "a", [row(x=1)])
    store.write_chance([("1.png", 0, 0.25)])
    store.write_failure("b", "because")
    other = ScoreStore(store.path, "another")
    assert other.finished() == set()
    assert other.scores().empty
    assert other.chance().empty
    assert other.failures() == {}
    other.write_unit(0, "a", [row(x=2)])
    other.close()
    assert store.scores()["x"].tolist() == [1]


def test_a_unit_is_whole_or_absent(store):
    broken = row("2.png")
    del broken["target"]
    with pytest.raises(KeyError):
        store.write_unit(0, "a", [row(), broken])
    with pytest.raises(UserError):
        store.write_unit(1, "a", [row("3.png"), row("3.png")])  # the same film twice
    assert store.finished() == set()
    assert store.scores().empty


def test_absorbing_takes_everything_once_and_deletes_the_part(store, tmp_path):
    store.write_unit(0, "a", [row("1.png")])
    part = ScoreStore(tmp_path / "part.sqlite", "digest")
    part.write_unit(0, "a", [row("1.png", x=9)])  # there already, as after a kill between copy and deletion
    part.write_unit(1, "a", [row("2.png")])
    part.write_chance([("2.png", 15, 0.5)])
    part.write_failure("b", "because")
    part.close()
    store.absorb(part.path)
    assert not part.path.exists()
    assert store.finished() == {(0, "a"), (1, "a")}
    assert store.scores()["x"].tolist() == [0, 0]
    assert store.chance()["chance"].tolist() == [0.5]
    assert store.failures() == {"b": "because"}


def test_chance_may_be_written_again_and_failures_forgotten(store):
    for _ in range(2):
        store.write_chance([("1.png", 0, 0.25), ("1.png", 15, 0.5)])
        store.write_failure("b", "because")
    assert len(store.chance()) == 2
    store.forget_failures()
    assert store.failures() == {}


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
    store = ScoreStore(tmp_path / "scores.sqlite", "digest")
    store.write_unit(0, "a", [row()])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to have no space left
    with pytest.raises(UserError, match=r"scores\.sqlite cannot be written .*full.*nothing computed so far is lost"):
        store.write_unit(1, "a", [row(f"{i}.png") for i in range(10, 5000)])
    assert store.finished() == {(0, "a")}
    store.close()


def test_a_file_that_is_no_database_is_one_sentence(tmp_path):
    path = tmp_path / "scores.sqlite"
    path.write_text("image,method\n" * 100)
    with pytest.raises(UserError, match=r"scores\.sqlite is not a file of scores"):
        ScoreStore(path, "digest")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        ScoreStore(tmp_path / "nowhere" / "scores.sqlite", "digest")


def test_the_file_is_plain_sqlite(store):
    store.write_unit(0, "a", [row()])
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
