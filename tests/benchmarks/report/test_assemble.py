from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_run import POSITIVES, make_run

from benchmarks.data.open_run import open_run
from benchmarks.methods import METHODS, select_methods
from benchmarks.report import overlays
from benchmarks.report.assemble import is_current, print_table, report, results_digest
from benchmarks.report.results import read_results
from benchmarks.report.subject import of_run
from benchmarks.run.errors import UserError
from benchmarks.scoring.score import open_job, score

SOME = ("center", "random", "input_x_gradient", "normgrad_conv1x1_single")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = make_run(tmp_path_factory.mktemp("report"), methods=SOME)
    score(config)
    report(config)
    return config


def test_summary_csv_has_the_agreed_columns_and_follows_from_the_scores(run):
    with (run.out / "summary.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [
        "method", "protocol", "tolerance", "accuracy", "ci_low", "ci_high", "hits", "images", "seconds_per_image",
    ]  # fmt: skip
    assert len(table) == len(SOME) * 2 * 3
    scores = pd.read_parquet(run.out / "scores.parquet")
    for entry in table:
        own = scores[(scores["method"] == entry["method"]) & (scores["protocol"] == entry["protocol"])]
        tolerance = int(entry["tolerance"])
        hits = (own["distance"] == 0).sum() if tolerance == 0 else (own["distance"] < tolerance).sum()
        assert int(entry["hits"]) == hits
        assert float(entry["accuracy"]) == pytest.approx(hits / POSITIVES)
        assert int(entry["images"]) == POSITIVES
        assert float(entry["seconds_per_image"]) > 0


def test_summary_json_is_complete(run):
    content = json.loads((run.out / "summary.json").read_text())
    assert content["classifier"] == {
        "auc": 0.5,
        "accuracy": 0.5,
        "split": "the test films",
        "missed": 1.0,
    }
    assert (content["images"], content["films_without_annotation_excluded"], content["frame"]) == (POSITIVES, 2, 600)
    assert 0 < content["chance"]["0"] < content["chance"]["15"] < content["chance"]["25"] < 1
    assert content["methods_that_could_not_run"] == {}
    assert content["maps"]["fair"]["random"] == {"constant": 0, "non_finite": 0}
    assert len(content["rows"]) == len(SOME) * 2 * 3


def test_markdown_shows_both_protocols_with_chance(run):
    text = (run.out / "summary.md").read_text()
    assert text.count("## Protocol") == 2
    assert text.count("(chance)") == 2
    assert all(text.count(f"| {name} |") == 3 for name in SOME)  # the third is by verdict
    by_protocol = text.partition("## By the classifier's verdict")[0]
    tables = [line for line in by_protocol.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1


def test_terminal_table_fits_80_columns(run, capsys):
    report(run)
    printed = capsys.readouterr().out
    assert all(name in printed for name in SOME)
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_a_long_name_leaves_the_figures_their_room(run, capsys):
    content = json.loads((run.out / "summary.json").read_text())
    long = "normgrad_depthwise_conv3x3_combined_positive_norm"
    for row in content["rows"]:
        row["method"] = row["method"].replace("center", long)
    for maps in content["maps"].values():
        maps[long] = maps.pop("center")
    job = open_job(run)
    print_table(content, of_run(run, job, read_results(run, job)))
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "s/image" in printed
    assert long not in printed  # it takes two lines
    assert max(map(len, printed.splitlines())) <= 80


def test_the_same_scores_give_the_same_files(run):
    names = ("summary.csv", "summary.md", "summary.json", "scores.parquet")
    before = [(run.out / name).read_bytes() for name in names]
    report(run)
    assert [(run.out / name).read_bytes() for name in names] == before


def test_a_report_is_current_until_something_that_it_shows_changes(run):
    assert is_current(run.out, results_digest(run))
    assert not is_current(run.out, results_digest(run.replace(methods=SOME[1:])))
    for name in ("measures.csv", "consistency.csv"):
        (run.out / name).write_text("new\n")
        assert not is_current(run.out, results_digest(run))
        (run.out / name).unlink()
    assert is_current(run.out, results_digest(run))
    kinds = run.data / "test_kinds.csv"
    kinds.write_text("image_name,kinds\n00000.png,zip\n")
    assert not is_current(run.out, results_digest(run))
    kinds.unlink()
    for name in ("summary.json", "report.html"):
        (run.out / name).rename(run.out / "hidden")
        assert not is_current(run.out, results_digest(run))
        (run.out / "hidden").rename(run.out / name)


@pytest.mark.parametrize("name", ["report.html", "overlays.png", "ranking.svg", "summary.csv", "scores.parquet"])
@pytest.mark.parametrize("content", [None, b""])
def test_a_report_is_not_current_where_a_file_is_gone_or_cut(run, name, content, capsys):
    before = (run.out / name).read_bytes()
    (run.out / name).unlink()
    if content is not None:
        (run.out / name).write_bytes(content)
    assert not is_current(run.out, results_digest(run))
    assert f"{name} is gone or damaged; the report is made again." in capsys.readouterr().out
    (run.out / name).write_bytes(before)
    assert is_current(run.out, results_digest(run))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"images": "many"}'])
def test_a_damaged_summary_is_said_and_made_again(run, text, capsys):
    path = run.out / "summary.json"
    before = path.read_text()
    path.write_text(text)
    assert not is_current(run.out, results_digest(run))
    assert "summary.json is damaged" in capsys.readouterr().out
    path.write_text(before)


def test_a_report_on_other_films_says_where_the_auc_is_from(run, tmp_path):
    other = make_run(tmp_path, methods=SOME)
    config = run.replace(data=other.data, out=tmp_path / "elsewhere", checkpoint=run.out)
    (other.data / "test.csv").write_text("image_name,annotation\n00000.png,0 1 1 30 30\n00006.png,\n")
    open_run(config)
    score(config)
    report(config)
    assert "AUC 0.500, accuracy 0.500 on other films" in (config.out / "summary.md").read_text()


def test_methods_that_were_removed_since_are_left_out(tmp_path, monkeypatch):
    config = make_run(tmp_path, methods=("gone", "random"))
    with monkeypatch.context() as patch:  # a new entry: taking out an old one would leave the registry in another order
        patch.setitem(METHODS, "gone", replace(METHODS["center"], name="gone"))
        score(config)
    report(config.replace(methods=("random",)))
    for name in ("summary.csv", "significance.csv", "breakdown.csv"):
        assert set(pd.read_csv(config.out / name)["method"]) == {"random"}


def test_where_no_method_could_run_the_reasons_are_told(tmp_path):
    config = make_run(tmp_path, methods=("lrp",))
    score(config)
    with pytest.raises(UserError, match=r"choose others with --methods.* lrp: LRP divides"):
        report(config)


def test_a_name_with_dollars_is_no_formula(tmp_path):
    config = make_run(tmp_path, methods=SOME)
    (config.data / "test_kinds.csv").write_text("image_name,kinds\n00000.png,a $x_$ b\n00001.png,zip\n")
    score(config)
    report(config)
    assert "a $x_$ b" in (config.out / "report.html").read_text()


def test_overlays_are_a_picture_with_a_column_for_each_real_method(run):
    with Image.open(run.out / "overlays.png") as image:
        width, height = image.size
        colours = {tuple(pixel) for pixel in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    assert width / height == pytest.approx(3 * 1.75 / (5 * 1.75 + 0.9), rel=0.05)  # film and two methods, five films
    marks = {tuple(int(code[i : i + 2], 16) for i in (1, 3, 5)) for code in (overlays.HIT, overlays.MISS)}
    assert marks & colours


def test_marks_are_the_scores(run, monkeypatch):
    marks = []
    monkeypatch.setattr(overlays, "_mark", lambda axis, x, y, hit: marks.append((x, y, hit)))
    scores = pd.read_parquet(run.out / "scores.parquet")
    job = open_job(run)
    results = read_results(run, job)
    subject = of_run(run, job, results)
    monkeypatch.setattr(overlays, "MOST_ROWS", 2)
    overlays.draw_overlays(job, select_methods(SOME), results, subject, run.out / "again.png", run.cache_dir)
    expected = [
        (row.x, row.y, row.distance < 15)
        for method in SOME[2:]
        for image in ("00000.png", "00004.png")  # the first and the last annotated film
        for row in scores.query("method == @method and image == @image and protocol == 'fair'").itertuples()
    ]
    assert marks == expected


def test_report_without_scores_says_what_to_do(tmp_path, run):
    config = make_run(tmp_path, methods=SOME)
    with pytest.raises(
        UserError, match="holds no complete scores of this configuration: run `python -m benchmarks score`"
    ):
        report(config)
    with pytest.raises(UserError, match="holds no complete scores"):
        report(run.replace(seed=5))


def test_methods_that_are_not_complete_are_named_and_left_out(tmp_path):
    config = make_run(tmp_path, methods=("center", "random"))
    score(config)
    with closing(sqlite3.connect(config.out / "scores.sqlite")) as connection, connection:
        connection.execute("DELETE FROM plays WHERE method = 'random' AND batch = 1")
    report(config.replace(methods=("center", "random", "grad_cam")))
    content = json.loads((config.out / "summary.json").read_text())
    assert {entry["method"] for entry in content["rows"]} == {"center"}
    assert content["methods_that_could_not_run"] == {
        "random": "not scored on all films",
        "grad_cam": "not scored on all films",
    }
    assert "- `grad_cam`: not scored on all films" in (config.out / "summary.md").read_text()
