from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from scored import SOME, add_method
from tiny_run import POSITIVES, SIZE, make_run

from benchmarks.classifier.network import normalise
from benchmarks.metrics.faithfulness import blur
from benchmarks.run.errors import UserError
from benchmarks.scoring.job import evenly_spaced
from benchmarks.scoring.measure import SETTINGS, MeasureStep, measure
from benchmarks.scoring.score import score
from benchmarks.scoring.store import MeasureStore

FILMS = [f"{number:05d}.png" for number in range(POSITIVES + 2)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = make_run(tmp_path_factory.mktemp("finished"), methods=SOME)
    score(config)
    measure(config)
    return config


def read(config, name="measures.parquet"):
    return pd.read_parquet(config.out / name) if name.endswith("parquet") else pd.read_csv(config.out / name)


def peaks(config):
    with closing(sqlite3.connect(config.out / "measures.sqlite")) as connection, connection:
        return pd.read_sql("SELECT * FROM peaks ORDER BY image, method, peak, object", connection)


def test_one_row_for_each_annotated_film_method_and_measure(finished):
    measures = read(finished)
    names = ("class_sensitivity", "deletion", "insertion")
    assert list(measures.columns) == ["image", "method", "measure", "value"]
    expected = sorted((film, method, name) for film in FILMS[:POSITIVES] for method in SOME for name in names)
    assert list(zip(measures["image"], measures["method"], measures["measure"], strict=True)) == expected
    assert measures["value"].notna().all()


def test_the_table_has_every_measure_of_every_method(finished):
    table = read(finished, "measures.csv")
    assert list(table.columns) == ["method", "measure", "value", "ci_low", "ci_high", "films", "better"]
    order = ("energy", "iou", "froc", "insertion", "deletion", "class_sensitivity")
    assert list(zip(table["measure"], table["method"], strict=True)) == [(m, name) for m in order for name in SOME]
    assert (table["films"] == np.where(table["measure"] == "froc", POSITIVES + 2, POSITIVES)).all()
    assert set(table.loc[table["better"] == "lower", "measure"]) == {"deletion", "class_sensitivity"}
    assert ((table["ci_low"] <= table["value"] + 1e-6) & (table["value"] <= table["ci_high"] + 1e-6)).all()
    values = table.set_index(["measure", "method"])["value"]
    for name in ("insertion", "deletion", "class_sensitivity"):
        means = read(finished).query("measure == @name").groupby("method")["value"].mean()
        assert values[name].to_dict() == pytest.approx(means.to_dict(), abs=1e-5)
    scores = pd.read_parquet(finished.out / "scores.parquet").query("protocol == 'fair'")
    for name in ("energy", "iou"):
        assert values[name].to_dict() == pytest.approx(scores.groupby("method")[name].mean().to_dict(), abs=1e-5)
    assert values["class_sensitivity", "center"] == pytest.approx(1)  # it shows the same for both classes


def test_class_sensitivity_is_scipys(finished):
    job = MeasureStep().open_job(finished)
    rows = read(finished).query("method == 'input_x_gradient' and measure == 'class_sensitivity'").set_index("image")
    for position in range(POSITIVES):
        maps = []
        for target in (0, 1):
            x = normalise(job.films[position][0][None]).requires_grad_()
            gradient = torch.autograd.grad(job.network(x)[0, target], x)[0]
            maps.append((x * gradient).abs().sum(1).detach().flatten().numpy())
        assert rows.loc[FILMS[position], "value"] == pytest.approx(spearmanr(*maps).statistic, abs=1e-3)


def test_insertion_and_deletion_are_those_of_the_predicted_class(finished):
    job = MeasureStep().open_job(finished)
    rows = read(finished).query("method == 'input_x_gradient'").set_index(["measure", "image"])["value"]
    position = 1
    film = normalise(job.films[position][0][None])
    target = int(job.network(film).argmax())
    x = film.clone().requires_grad_()
    gradient = torch.autograd.grad(job.network(x)[0, target], x)[0]
    order = (x * gradient).abs().sum(1).detach().flatten().argsort(descending=True)
    for name, start, end in (("insertion", blur(film), film), ("deletion", film, blur(film))):
        curve = []
        for step in range(17):
            mixed = start.clone()
            chosen = order[: step * SIZE**2 // 16]
            mixed[0, :, chosen // SIZE, chosen % SIZE] = end[0, :, chosen // SIZE, chosen % SIZE]
            with torch.no_grad():
                curve.append(float(job.network(mixed).softmax(1)[0, target]))
        area = sum((a + b) / 2 for a, b in pairwise(curve)) / 16
        assert rows[name, FILMS[position]] == pytest.approx(area, abs=1e-4)


def test_peaks_are_scored_by_probability_and_height_and_know_their_objects(finished):
    job = MeasureStep().open_job(finished)
    table = peaks(finished)
    assert set(table["image"]) == set(FILMS)  # clean films, too
    for number, (image, film) in enumerate(zip(FILMS, job.films, strict=False)):
        with torch.no_grad():
            probability = float(job.network(normalise(film[0][None])).softmax(1)[0, 1])
        own = table[table["image"] == image]
        first = own[own["peak"] == 0]
        assert first["score"].to_numpy() == pytest.approx(np.full(len(SOME), probability), rel=1e-4)
        assert (own["score"] >= 0.0099 * probability).all()
        if number >= POSITIVES:
            assert (own["object"] == -1).all()
            continue
        x1, y1, x2, y2 = job.films.records[number].shapes[0].box
        columns = (own["x"] >= np.floor(x1 * 20 / 3)) & (own["x"] < np.ceil(x2 * 20 / 3))
        rows = (own["y"] >= y1 * 10) & (own["y"] < y2 * 10)
        assert ((own["object"] == 0) == (columns & rows)).all()


def test_batches_do_not_change_what_is_measured(tmp_path, finished):
    config = make_run(tmp_path, methods=SOME, score_batch_size=3)
    measure(config)
    ours, theirs = (read(c).query("method != 'random'").reset_index(drop=True) for c in (config, finished))
    # Another batch rounds otherwise, and a ReLU whose input is all but zero may be on in the one and off in the other.
    pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=1e-3)
    theirs = read(finished, "froc.csv").query("method != 'random'").reset_index(drop=True)
    pd.testing.assert_frame_equal(read(config, "froc.csv").query("method != 'random'").reset_index(drop=True), theirs)


@pytest.mark.parametrize("table", ["measures", "peaks"])
def test_rows_that_were_lost_are_measured_again(tmp_path, finished, capsys, table):
    shutil.copytree(finished.out, tmp_path / "run")
    config = finished.replace(out=tmp_path / "run")
    written = [peaks(config), read(config)]
    with closing(sqlite3.connect(config.out / "measures.sqlite")) as connection, connection:
        connection.execute(f"DELETE FROM {table} WHERE image = '00001.png' AND method = 'random'")
    measure(config)
    assert "by batches of random (1); these count as not measured" in capsys.readouterr().out
    for before, after in zip(written, [peaks(config), read(config)], strict=True):
        pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_without_scores_the_other_measures_are_there(tmp_path, capsys):
    config = make_run(tmp_path, methods=("center",))
    measure(config)
    assert "energy and iou" in capsys.readouterr().out
    assert not (config.out / "scores.sqlite").exists()
    assert read(config, "measures.csv")["measure"].tolist() == ["froc", "insertion", "deletion", "class_sensitivity"]


def test_maps_that_are_not_finite_or_constant_have_no_value_where_there_is_none(tmp_path, monkeypatch):
    def explain(images, targets):
        maps = torch.full((len(images), 1, 4, 4), 3.0)
        maps[0] = torch.nan
        return maps

    add_method(monkeypatch, "odd", lambda context: explain)
    config = make_run(tmp_path, methods=("odd",))
    measure(config)
    wide = read(config).pivot(index="image", columns="measure", values="value")
    odd = wide.index.isin(["00000.png", "00002.png", "00004.png"])  # the first of each batch
    assert wide["class_sensitivity"].isna().all()
    assert (wide["insertion"].isna() == odd).all()
    assert (wide["deletion"].isna() == odd).all()
    table = read(config, "measures.csv").set_index("measure")
    assert table.loc[["insertion", "deletion", "class_sensitivity"], "films"].tolist() == [2, 2, 0]
    assert np.isnan(table.loc["class_sensitivity", "value"])
    assert table.loc["froc", "value"] == 0  # no peak, no object found


def test_films_of_the_subset_are_half_of_each_class_and_evenly_spaced(tmp_path):
    config = make_run(tmp_path, methods=("center",), measure_films=4)
    job = MeasureStep().open_job(config)
    assert job.positives == [0, 4, 5, 6]
    assert MeasureStep().open_job(config.replace(measure_films=3)).positives == [0, 4, 5]
    assert MeasureStep().open_job(config.replace(measure_films=50)).positives == list(range(7))
    measure(config)
    assert read(config)["image"].unique().tolist() == ["00000.png", "00004.png"]
    assert read(config, "measures.csv").set_index("measure").loc["froc", "films"] == 4


def test_evenly_spaced():
    assert evenly_spaced([3, 5, 7, 9, 11], 3) == [3, 7, 11]
    assert evenly_spaced([3, 5], 3) == [3, 5]
    assert evenly_spaced(range(100), 1) == [0]
    assert evenly_spaced([], 4) == []


@pytest.mark.parametrize("change", ["seed", "truth", "score_batch_size", "measure_films", "steps"])
def test_everything_that_measures_depend_on_is_in_the_key(tmp_path, finished, monkeypatch, change):
    def key(config):
        store = MeasureStep().open_store(tmp_path / "measures.sqlite", MeasureStep().open_job(config))
        with closing(store):
            return store.key("center")

    before = key(finished)
    assert key(finished) == before
    config = finished
    if change == "steps":
        monkeypatch.setitem(SETTINGS, "steps", 4)
    else:
        new = {"seed": 1, "truth": "shape", "score_batch_size": 3, "measure_films": 4}[change]
        config = config.replace(**{change: new})
    assert key(config) != before


def test_a_unit_is_whole_or_absent(tmp_path):
    store = MeasureStore(tmp_path / "measures.sqlite", lambda method: {})
    value = {"image": "1.png", "method": "a", "measure": "insertion", "value": 0.5}
    peak = {"image": "1.png", "method": "a", "peak": 0, "x": 3, "y": 4, "score": 0.9, "object": -1}
    with pytest.raises(UserError):
        store.write_unit(0, "a", {"measures": [value], "peaks": [peak, peak]})
    assert store.finished() == set()
    assert store.measures().empty
    store.write_unit(0, "a", {"measures": [value, {**value, "measure": "deletion", "value": None}], "peaks": [peak]})
    assert store.measures()["value"].isna().tolist() == [True, False]
    assert store.peaks().to_dict("records") == [peak]
    store.close()
