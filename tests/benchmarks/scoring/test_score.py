from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
import torch
from scored import SOME, add_method, read
from tiny_run import POSITIVES, make_run

from benchmarks.classifier.network import normalise
from benchmarks.methods import METHODS
from benchmarks.metrics.frame import FRAME
from benchmarks.metrics.game_metric import PointingGame
from benchmarks.metrics.pointing_game import find_maxima
from benchmarks.run.errors import UserError
from benchmarks.scoring.batch import explain_within_memory
from benchmarks.scoring.score import ScoreStep, open_job, score
from benchmarks.scoring.scored_maps import scored_cost, scored_maps


def test_one_row_for_each_film_method_and_protocol(finished):
    scores = read(finished)
    films = [f"{number:05d}.png" for number in range(POSITIVES)]  # the clean films are left out
    expected = sorted((film, method, protocol) for film in films for method in SOME for protocol in ("fair", "paper"))
    assert list(zip(scores["image"], scores["method"], scores["protocol"], strict=True)) == expected
    true = pd.read_parquet(finished.out / "scores_true.parquet")
    wrong = scores.loc[scores["target"] == 0, ["image", "method", "protocol"]]
    assert len(wrong)
    assert wrong.to_numpy().tolist() == true[["image", "method", "protocol"]].to_numpy().tolist()
    assert (true["target"] == 1).all()
    assert list(true.columns) == list(scores.columns)
    assert list(scores.columns) == [
        "image", "method", "protocol", "x", "y", "distance", "energy", "iou",
        "target", "probability", "seconds", "label", "status", "batch",
    ]  # fmt: skip
    assert (scores["label"] == 1).all()
    assert (scores["status"] == "ok").all()
    assert scores["seconds"].gt(0).all()
    assert scores["batch"].tolist() == [int(image[:5]) // 2 for image in scores["image"]]


def test_rows_are_the_networks_verdict_and_the_geometry_of_the_annotation(finished):
    job = open_job(finished)
    scores = read(finished).set_index(["method", "protocol", "image"])
    for position in job.positives:
        record = job.films.records[position]
        with torch.no_grad():
            probabilities = job.network(normalise(job.films[position][0][None])).softmax(1)[0]
        row = scores.loc[("input_x_gradient", "fair", record.name)]
        assert row["target"] == int(probabilities.argmax())
        assert row["probability"] == pytest.approx(float(probabilities.max()), abs=1e-5)
        # Films of 90 x 60 on a frame of 600: columns x 20/3, rows x 10.
        x1, y1, x2, y2 = record.shapes[0].box
        left, right = int(np.floor(x1 * 20 / 3)), int(np.ceil(x2 * 20 / 3)) - 1
        top, bottom = int(y1 * 10), int(y2 * 10) - 1
        dx = max(left - row["x"], 0, row["x"] - right)
        dy = max(top - row["y"], 0, row["y"] - bottom)
        assert row["distance"] == pytest.approx(np.hypot(dx, dy))


@pytest.mark.parametrize("protocol", ["paper", "fair"])
def test_the_metric_gives_the_accuracy_of_the_rows(finished, protocol):
    job = open_job(finished)
    rows = read(finished).query("method == 'input_x_gradient' and protocol == @protocol")
    masks = torch.zeros(len(job.positives), FRAME, FRAME, dtype=torch.bool)
    for i, position in enumerate(job.positives):
        x1, y1, x2, y2 = job.films.records[position].shapes[0].box
        masks[i, int(y1 * 10) : int(y2 * 10), int(np.floor(x1 * 20 / 3)) : int(np.ceil(x2 * 20 / 3))] = True
    images = normalise(torch.stack([job.films[position][0] for position in job.positives]))
    x = images.requires_grad_()
    output = job.network(x)
    gradient = torch.autograd.grad(output.max(dim=1).values.sum(), x)[0]
    metric = PointingGame(protocol=protocol, clip=protocol == "paper")
    ids = [job.image_id(position) for position in job.positives]
    metric.update((x * gradient).abs().sum(1, keepdim=True), masks, ids)
    result = metric.compute()
    assert result["accuracy_0"] == pytest.approx((rows["distance"] == 0).mean())
    assert result["accuracy_15"] == pytest.approx((rows["distance"] < 15).mean())
    with closing(sqlite3.connect(finished.out / "scores.sqlite")) as connection, connection:
        chance = dict(connection.execute("SELECT tolerance, AVG(chance) FROM chance GROUP BY tolerance").fetchall())
    assert {t: pytest.approx(float(result[f"chance_{t}"])) for t in (0, 15, 25)} == chance


@pytest.mark.parametrize("name", ["random", "input_x_gradient", "normgrad_conv1x1_combined"])
def test_maps_computed_once_more_are_those_that_were_scored(finished, name):
    job = open_job(finished)
    with ScoreStep().reading(finished, job) as store:
        maps = torch.stack(scored_maps(job, METHODS[name], [3, 1], store.verdicts()))
    ids = [job.image_id(position) for position in (3, 1)]
    points = find_maxima(maps, protocol="fair", seed=finished.seed, image_ids=ids).points
    rows = read(finished).query("method == @name and protocol == 'fair'").set_index("image")
    assert points.tolist() == rows.loc[["00003.png", "00001.png"], ["x", "y"]].to_numpy().tolist()
    assert scored_cost(job, METHODS[name], [3, 1]) == (4 if name == "random" else 2)  # two batches of two


def test_a_film_draws_the_same_lots_in_a_smaller_split(tmp_path, monkeypatch):
    add_method(monkeypatch, "flat", lambda context: lambda images, targets: torch.zeros(len(images), 1, 4, 4))
    whole, part = (make_run(tmp_path / name, methods=("flat",), limit=limit) for name, limit in (("a", None), ("b", 6)))
    for config in (whole, part):
        score(config)
    common = read(part)["image"].unique()
    assert len(common) == 3
    played = ["image", "protocol", "x", "y"]
    expected = read(whole).query("image in @common")[played].reset_index(drop=True)
    pd.testing.assert_frame_equal(read(part)[played], expected)


def test_the_key_of_a_method_holds_its_packages_and_no_others(finished):
    job = open_job(finished)
    packages = {"torch", "torchvision", "captum", "grad-cam", "normgrad_attr", "scikit-image", "scikit-learn"}
    expected = {
        "center": {"torch", "torchvision"},
        "grad_cam": {"torch", "torchvision", "captum"},
        "layer_cam": {"torch", "torchvision", "grad-cam"},
        "normgrad_conv1x1_single": {"torch", "torchvision", "captum", "normgrad_attr"},
        "normgrad_conv1x1_combined_vargrad": {"torch", "torchvision", "captum", "normgrad_attr"},
        "lime": {"torch", "torchvision", "captum", "scikit-image", "scikit-learn"},
    }
    assert {name: packages & job.method_facts(name).keys() for name in expected} == expected


def test_a_method_that_cannot_run_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def refuse(context):
        raise UserError("the network has no such thing")

    def break_down(context):
        def explain(images, targets):
            raise IndexError("dimension\nout of range")

        return explain

    add_method(monkeypatch, "refusing", refuse)
    add_method(monkeypatch, "breaking", break_down)
    config = make_run(tmp_path, methods=("refusing", "breaking", "center"))
    score(config)
    assert set(read(config)["method"]) == {"center"}
    printed = capsys.readouterr().out
    assert "refusing could not run: the network has no such thing" in printed
    assert "breaking could not run: IndexError: dimension out of range" in printed


def test_a_method_that_runs_on_a_later_start_loses_its_failure(tmp_path, monkeypatch):
    broken = True

    def build(context):
        if broken:
            raise RuntimeError("not yet")
        return lambda images, targets: images[:, :1]

    add_method(monkeypatch, "late", build)
    config = make_run(tmp_path, methods=("late",))
    score(config)
    job = open_job(config)
    with ScoreStep().reading(config, job) as store:
        assert store.failures() == {"late": "RuntimeError: not yet"}
    broken = False
    score(config)
    with ScoreStep().reading(config, job) as store:
        assert store.failures() == {}
        assert len(store.scores()) == 2 * POSITIVES


def test_maps_that_are_not_finite_or_constant_are_marked(tmp_path, monkeypatch):
    def build(context):
        def explain(images, targets):
            maps = torch.rand(len(images), 1, 4, 4)
            maps[0] = torch.nan
            maps[1:] = 3.0
            return maps

        return explain

    add_method(monkeypatch, "odd", build)
    config = make_run(tmp_path, methods=("odd",))
    score(config)
    scores = read(config)
    first_of_batch = scores["image"].isin(["00000.png", "00002.png", "00004.png"])
    assert (scores["status"] == np.where(first_of_batch, "non_finite", "constant")).all()
    numbers = ["x", "y", "distance", "energy", "iou"]
    assert scores.loc[first_of_batch, numbers].isna().all(axis=None)
    assert scores.loc[~first_of_batch, numbers].notna().all(axis=None)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch(error):
    sizes = []

    def explain(images, targets):
        sizes.append(len(images))
        if len(images) > 2:
            raise error
        return images[:, :1] * targets.view(-1, 1, 1, 1)

    images, targets = torch.rand(7, 3, 4, 4), torch.arange(7)
    maps = explain_within_memory(explain, images, targets)
    assert torch.equal(maps, images[:, :1] * targets.view(-1, 1, 1, 1))
    assert sizes == [7, 4, 2, 2, 3, 2, 1]


def test_out_of_memory_with_one_image_is_a_failure_with_a_reason(tmp_path, monkeypatch):
    def build(context):
        def explain(images, targets):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

        return explain

    add_method(monkeypatch, "huge", build)
    config = make_run(tmp_path, methods=("huge", "center"))
    score(config)
    with closing(sqlite3.connect(config.out / "scores.sqlite")) as connection, connection:
        reasons = connection.execute("SELECT method, reason FROM failures").fetchall()
    assert reasons == [("huge", "out of memory even with one image at a time")]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def explain(images, targets):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        explain_within_memory(explain, torch.rand(4, 3, 4, 4), torch.arange(4))


def test_scoring_leaves_the_random_state_alone(tmp_path):
    config = make_run(tmp_path, methods=("random",))
    job = open_job(config)
    store = ScoreStep().open_store(config.out / "scores.sqlite", job)
    state = torch.get_rng_state()
    ScoreStep().compute_units(job, ScoreStep().pending(job, [METHODS["random"]], set()), store)
    store.close()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_split_without_annotated_films_is_one_sentence(tmp_path):
    config = make_run(tmp_path)
    table = config.data / "test.csv"
    rows = ["image_name,annotation", *(f"{i:05d}.png," for i in range(POSITIVES + 2))]
    table.write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match="no annotated film"):
        score(config)


def test_an_unknown_method_is_told_before_any_work(tmp_path):
    config = make_run(tmp_path, methods=("grad_kam",))
    with pytest.raises(UserError, match="no method 'grad_kam'"):
        score(config)
    assert not (config.out / "scores.sqlite").exists()
