from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.run.errors import UserError
from benchmarks.scoring.damaged_store import set_damaged_aside
from benchmarks.scoring.store import SCORE_COLUMNS, ScoreStore
from benchmarks.scoring.unit_store import EVERY

NUMBERS = ("x", "y", "distance", "energy", "iou", "seconds")


def row(image="1.png", **values):
    return {**dict.fromkeys(NUMBERS, 0), "image": image, "method": "a", "protocol": "fair", "status": "ok", **values}


def plays(*rows):
    return {"plays": list(rows)}


def film(image="1.png", position=0, target=1):
    verdict = {"image": image, "position": position, "label": 1, "target": target}
    return {**verdict, "probability": 0.75, "label_probability": 0.75 if target == 1 else 0.25}


def films(verdicts, chance=()):
    return {"verdicts": verdicts, "chance": chance}


def facts(method, **others):
    return {"seed": "0", "method": method, **others}


def other_facts(method):
    return facts(method, seed="1")


@pytest.fixture
def store(tmp_path):
    store = ScoreStore(tmp_path / "scores.sqlite", facts)
    yield store
    store.close()


def test_what_is_written_is_there_for_another_process(store):
    store.write_unit(0, EVERY, films([film("1.png", 4), film("0.png", 2)]))
    store.write_unit(3, "a", plays(row(x=5, y=None, distance=1.5), row("0.png")))
    other = ScoreStore(store.path, facts)
    assert other.finished() == {(0, EVERY), (3, "a")}
    scores = other.scores()
    assert scores["image"].tolist() == ["0.png", "1.png"]
    assert tuple(scores.columns) == SCORE_COLUMNS
    assert scores["x"].tolist() == [0, 5]
    assert scores["y"].isna().tolist() == [False, True]
    assert scores["batch"].tolist() == [3, 3]
    other.close()


def test_verdicts_are_kept_once_and_read_by_every_row(store):
    store.write_unit(0, EVERY, films([film("1.png", 4, target=0), film("0.png", 2)]))
    store.write_unit(0, "a", {"plays": [row("0.png"), row("1.png")], "plays_true": [row("1.png", x=9)]})
    predicted, true = store.scores(), store.true_scores()
    facts_of_film = ["image", "label", "target", "probability"]
    assert predicted[facts_of_film].to_numpy().tolist() == [["0.png", 1, 1, 0.75], ["1.png", 1, 0, 0.75]]
    assert true[[*facts_of_film, "x"]].to_numpy().tolist() == [["1.png", 1, 1, 0.25, 9]]
    assert store.verdicts()["position"].tolist() == [2, 4]
    assert store.verdicts(0).equals(store.verdicts())
    assert store.verdicts(1).empty


def test_rows_that_depend_on_other_things_are_not_seen(store):
    store.write_unit(0, EVERY, films([film()], [{"image": "1.png", "tolerance": 0, "chance": 0.25}]))
    store.write_unit(0, "a", plays(row(x=1)))
    store.write_failure("b", "because")
    other = ScoreStore(store.path, other_facts)
    assert other.finished() == set()
    assert other.scores().empty
    assert other.verdicts().empty
    assert other.chance().empty
    assert other.failures() == {}
    other.write_unit(0, EVERY, films([film()]))
    other.write_unit(0, "a", plays(row(x=2)))
    other.close()
    assert store.scores()["x"].tolist() == [1]


def test_a_package_renews_the_methods_that_depend_on_it_and_no_others(store):
    def upgraded(method):
        return facts(method, **({"captum": "0.9"} if method == "b" else {}))

    def before(method):
        return facts(method, **({"captum": "0.8"} if method == "b" else {}))

    old = ScoreStore(store.path, before)
    old.write_unit(0, EVERY, films([film()]))
    for method in ("a", "b"):
        old.write_unit(0, method, plays(row(method=method)))
    old.close()
    new = ScoreStore(store.path, upgraded)
    assert new.finished() == {(0, EVERY), (0, "a")}
    assert new.scores()["method"].tolist() == ["a"]
    assert new.outdated(["a", "b", "c"]) == {"b": "captum 0.8, now 0.9"}
    new.write_unit(0, "b", plays(row(method="b")))
    assert new.outdated(["a", "b", "c"]) == {}
    new.close()


def test_a_unit_is_whole_or_absent(store):
    broken = row("2.png")
    del broken["status"]
    with pytest.raises(UserError):
        store.write_unit(0, "a", plays(row(), broken))
    with pytest.raises(UserError):
        store.write_unit(1, "a", plays(row("3.png"), row("3.png")))  # the same film twice
    assert store.finished() == set()
    assert store.scores().empty


def test_absorbing_takes_everything_once_and_deletes_the_part(store, tmp_path):
    store.write_unit(0, EVERY, films([film()]))
    store.write_unit(0, "a", plays(row()))
    part = ScoreStore(tmp_path / "part.sqlite", facts)
    part.write_unit(0, "a", plays(row(x=9)))  # there already, as after a kill between copy and deletion
    part.write_unit(1, "a", plays(row("2.png")))
    part.write_unit(1, EVERY, films([film("2.png", 1)], [{"image": "2.png", "tolerance": 15, "chance": 0.5}]))
    part.write_failure("b", "because")
    part.close()
    store.absorb(part.path)
    assert not part.path.exists()
    assert store.finished() == {(batch, method) for batch in (0, 1) for method in (EVERY, "a")}
    assert store.scores()["x"].tolist() == [0, 0]
    assert store.chance()["chance"].tolist() == [0.5]
    assert store.failures() == {"b": "because"}


def test_facts_of_films_may_be_written_again_and_failures_forgotten(store):
    for _ in range(2):
        store.write_unit(
            0, EVERY, films([film()], [{"image": "1.png", "tolerance": t, "chance": 0.5} for t in (0, 15)])
        )
        store.write_failure("b", "because")
    assert (len(store.chance()), len(store.verdicts())) == (2, 1)
    store.forget_failures()
    assert store.failures() == {}


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
    store = ScoreStore(tmp_path / "scores.sqlite", facts)
    store.write_unit(0, "a", plays(row()))
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to have no space left
    with pytest.raises(UserError, match=r"scores\.sqlite cannot be written .*full.*nothing computed so far is lost"):
        store.write_unit(1, "a", plays(*(row(f"{i}.png") for i in range(10, 5000))))
    assert store.finished() == {(0, "a")}
    store.close()


def test_a_file_that_is_no_database_is_one_sentence(tmp_path):
    path = tmp_path / "scores.sqlite"
    path.write_text("image,method\n" * 100)
    with pytest.raises(UserError, match=r"scores\.sqlite is damaged .*keeps it under another name"):
        ScoreStore(path, facts)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        ScoreStore(tmp_path / "nowhere" / "scores.sqlite", facts)


ROW_DAMAGE = (
    "DELETE FROM plays WHERE image = '1.png'",
    "DELETE FROM plays_true",
    "UPDATE plays SET x = 8 WHERE image = '0.png'",
    "UPDATE plays SET image = '7.png' WHERE image = '0.png'",
    "UPDATE plays SET image = CAST(x'ff00' AS TEXT) WHERE image = '0.png'",
    "UPDATE plays SET batch = 7 WHERE image = '0.png'",
    "UPDATE plays SET batch = NULL WHERE image = '0.png'",
    "INSERT INTO plays SELECT key, batch, '7.png', method, protocol, x, y, distance, energy, iou, seconds, status "
    "FROM plays WHERE image = '0.png'",
    "UPDATE units SET rows_sum = 3 WHERE batch = 0 AND method = 'a'",
    "DELETE FROM units WHERE batch = 0 AND method = 'a'",
)


@pytest.mark.parametrize("damage", ROW_DAMAGE)
def test_a_unit_counts_only_while_its_rows_are_those_that_were_written(store, damage):
    store.write_unit(0, EVERY, films([film("0.png", 0), film("1.png", 1), film("2.png", 2)]))
    store.write_unit(1, "a", plays(row("2.png")))
    first = {"plays": [row("0.png", x=5), row("1.png", energy=0.1)], "plays_true": [row("1.png", x=9)]}
    store.write_unit(0, "a", first)
    whole = store.scores(), store.true_scores()
    with store._connection:
        store._connection.execute(damage)
    assert store.finished() == {(0, EVERY), (1, "a")}
    assert store.scores()["image"].tolist() == ["2.png"]
    assert store.true_scores().empty
    assert set(store.delete_damaged()) == {"a"}
    assert store.delete_damaged() == {}
    assert store.finished() == {(0, EVERY), (1, "a")}
    store.write_unit(0, "a", first)
    assert store.finished() == {(0, EVERY), (0, "a"), (1, "a")}
    for table, again in zip(whole, (store.scores(), store.true_scores()), strict=True):
        pd.testing.assert_frame_equal(table, again)


def test_what_is_noted_of_keys_may_be_lost(store):
    store.write_unit(0, "a", plays(row()))
    for damage in ("UPDATE keys SET facts = '[1'", "UPDATE keys SET facts = NULL", "DELETE FROM keys"):
        with store._connection:
            store._connection.execute(damage)
        other = ScoreStore(store.path, other_facts)
        other.outdated(["a"])
        other.close()
        assert store.finished() == {(0, "a")}


def test_reading_makes_no_file(tmp_path):
    store = ScoreStore(tmp_path / "scores.sqlite", facts, create=False)
    assert store.scores().empty
    assert store.finished() == set()
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_plain_sqlite(store):
    store.write_unit(0, "a", plays(row()))
    with closing(sqlite3.connect(store.path)) as connection, connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def drop(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE units")


def older(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE units (digest TEXT, batch INTEGER, method TEXT)")


@pytest.mark.parametrize("damage", [halve, drop, older, lambda path: path.write_text("image,method\n" * 100)])
def test_a_damaged_file_is_kept_aside(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scores.sqlite"
    ScoreStore(path, lambda method: {}).close()
    set_damaged_aside(path, ScoreStore)
    assert path.exists()
    for number in (1, 2):
        damage(path)
        content = path.read_bytes()
        set_damaged_aside(path, ScoreStore)
        assert not path.exists()
        assert (tmp_path / f"scores.sqlite.damaged{number}").read_bytes() == content
        assert "is damaged (" in capsys.readouterr().out
        ScoreStore(path, lambda method: {}).close()
