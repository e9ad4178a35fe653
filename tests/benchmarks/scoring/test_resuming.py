"""What a further start of the step `score` takes over, and what it computes again."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pandas as pd
import pytest
import torch
from scored import SOME, assert_same_scores, read
from tiny_run import make_run

from benchmarks.methods import METHODS
from benchmarks.run.directory import version
from benchmarks.scoring import job as job_module
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.score import ScoreStep, open_job, score
from benchmarks.scoring.unit_store import EVERY


def test_another_version_of_a_package_is_told_and_its_methods_are_scored_anew(tmp_path, monkeypatch, capsys):
    config = make_run(tmp_path, methods=("center", "input_x_gradient"))
    score(config)
    first = read(config)
    monkeypatch.setattr(job_module, "version", lambda name: "0.0" if name == "captum" else version(name))
    score(config)
    printed = capsys.readouterr().out
    assert f"input_x_gradient was scored before (captum {version('captum')}, now 0.0); it is scored anew" in printed
    assert "center was" not in printed
    assert_same_scores(read(config), first)
    with closing(sqlite3.connect(config.out / "scores.sqlite")) as connection, connection:
        assert connection.execute("SELECT COUNT(*) FROM plays").fetchone()[0] == 1.5 * len(first)


def test_a_second_start_does_nothing_and_says_so(finished, capsys, monkeypatch):
    before = read(finished)
    monkeypatch.setattr("benchmarks.scoring.score.FilmBatch", None)  # nothing may be computed
    score(finished)
    assert "nothing to do" in capsys.readouterr().out
    pd.testing.assert_frame_equal(read(finished), before)  # seconds too


def test_methods_may_be_added_to_a_finished_run(tmp_path, finished):
    config = make_run(tmp_path, methods=("random",))
    score(config)
    first = read(config)
    score(config.replace(methods=SOME))
    assert_same_scores(read(config), read(finished))
    pd.testing.assert_frame_equal(read(config).query("method == 'random'").reset_index(drop=True), first)


def test_a_run_stopped_between_two_units_ends_with_the_same_rows(tmp_path, finished, monkeypatch):
    config = make_run(tmp_path, methods=SOME)
    real, calls = FilmBatch.play, []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(FilmBatch, "play", interrupt)
    with pytest.raises(KeyboardInterrupt):
        score(config)
    assert not (config.out / "scores.parquet").exists()
    score(config)
    assert len(calls) == 3 * len(SOME) + 1  # the interrupted unit twice, the others once
    assert_same_scores(read(config), read(finished))


UNITS = [(batch, method) for batch in range(3) for method in ("center", "random")]


@pytest.mark.parametrize(
    ("damage", "told", "again"),
    [
        ("DELETE FROM plays WHERE image = '00001.png' AND method = 'random'", "random (1)", [(0, "random")]),
        ("DELETE FROM plays_true", "random (3), center (3)", UNITS),
        ("UPDATE plays SET x = x + 1 WHERE image = '00004.png'", "random (1), center (1)", UNITS[4:]),
        ("DELETE FROM verdicts WHERE image = '00003.png'", "the films themselves (1)", []),
        ("DELETE FROM chance", "the films themselves (3)", []),
        ("DELETE FROM units WHERE batch = 1", "films themselves (1), random (1), center (1)", UNITS[2:4]),
    ],
)
def test_rows_that_were_lost_are_computed_again_and_no_others(tmp_path, monkeypatch, capsys, damage, told, again):
    config = make_run(tmp_path, methods=("center", "random"))
    score(config)
    before, true = read(config), pd.read_parquet(config.out / "scores_true.parquet")
    with ScoreStep().reading(config, open_job(config)) as store:
        chance = store.chance()
    with closing(sqlite3.connect(config.out / "scores.sqlite")) as connection, connection:
        connection.execute(damage)
    real, played = FilmBatch.play, []

    def play(films, method, explain):
        played.append((films.batch, method.name))
        return real(films, method, explain)

    monkeypatch.setattr(FilmBatch, "play", play)
    capsys.readouterr()
    score(config)
    assert played == again
    lines = [line for line in capsys.readouterr().out.splitlines() if "lost, changed or added" in line]
    assert len(lines) == 1
    assert all(part in lines[0] for part in told.split(", "))
    assert_same_scores(read(config), before)
    assert_same_scores(pd.read_parquet(config.out / "scores_true.parquet"), true)
    with ScoreStep().reading(config, open_job(config)) as store:
        pd.testing.assert_frame_equal(store.chance(), chance)
    score(config)
    assert "lost, changed" not in capsys.readouterr().out


def test_tables_are_written_again_where_rows_or_files_changed(tmp_path, monkeypatch):
    config = make_run(tmp_path, methods=("center",))
    score(config)
    path = config.out / "scores.parquet"
    before = path.stat().st_ino
    score(config)
    assert path.stat().st_ino == before
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    score(config)
    assert path.read_bytes() == whole
    score(config.replace(methods=("center", "edge")))
    assert set(read(config)["method"]) == {"center", "edge"}


def test_units_that_are_missing_by_hand(finished):
    job = open_job(finished)  # three batches
    first, second = (METHODS[name] for name in SOME[:2])
    films = [(batch, EVERY) for batch in (0, 1)]
    there = [(0, first.name), (1, first.name), (1, second.name), (2, "unknown"), (9, first.name)]
    assert ScoreStep().pending(job, [first, second], iter(films + there)) == {0: [second], 2: [first, second]}
    done = [(batch, first.name) for batch in range(3)]
    assert ScoreStep().pending(job, [first], films + done) == {2: []}  # whose films are not known
    assert ScoreStep().pending(job, [first], [*films, (2, EVERY), *done]) == {}
    damaged = [(-1, first.name), ("2", first.name), (None, first.name), (job.batches, first.name)]
    assert ScoreStep().pending(job, [first], [*films, (2, EVERY), *done[:-1], *damaged]).keys() == {done[-1][0]}


def test_parts_of_a_killed_distributed_run_are_taken_over(tmp_path, finished):
    config = make_run(tmp_path, methods=SOME)
    job = open_job(config)
    part = ScoreStep().open_store(config.out / "scores.rank1.sqlite", job)
    pending = ScoreStep().pending(job, [METHODS[name] for name in SOME], set())
    ScoreStep().compute_units(job, {1: pending[1]}, part)
    part.close()
    score(config)
    assert not list(config.out.glob("scores.rank*"))
    assert_same_scores(read(config), read(finished))


def test_another_configuration_never_mixes_with_old_scores(tmp_path):
    config = make_run(tmp_path, methods=("random",))
    score(config)
    first = read(config)
    score(config.replace(seed=1))
    second = read(config)
    assert len(second) == len(first)
    assert (second["x"] != first["x"]).any()
    score(config)  # the first ones are still there
    pd.testing.assert_frame_equal(read(config), first)


@pytest.mark.parametrize("change", ["seed", "truth", "score_batch_size", "budget", "weights", "annotation"])
def test_everything_that_scores_depend_on_is_in_the_digest(tmp_path, change):
    config = make_run(tmp_path)
    before = open_job(config).facts
    assert open_job(config).facts == before
    if change == "weights":
        path = config.out / "checkpoints" / "best.ckpt"
        state = torch.load(path, weights_only=True)
        state["state_dict"]["network.fc.bias"][0] += 1e-6
        torch.save(state, path)
    elif change == "annotation":
        table = config.data / "test.csv"
        table.write_text(table.read_text().replace("00000.png,0 ", "00000.png,1 "))
    else:
        others = {"seed": 1, "truth": "shape", "score_batch_size": 3, "budget": 299}
        config = config.replace(**{change: others[change]})
    assert open_job(config).facts != before
