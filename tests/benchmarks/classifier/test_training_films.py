from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import SIZE, make_run

from benchmarks.classifier.training_films import draw_records, training_films
from benchmarks.data.records import Record
from benchmarks.methods import METHODS
from benchmarks.run.errors import UserError
from benchmarks.scoring.score import open_job


def record(number, label):
    return Record(f"{number}.png", Path(f"{number}.png"), (object(),) * label, number, Path("train.csv"))


def test_as_many_of_each_class_as_there_are_up_to_half():
    records = [record(number, label=int(number % 3 == 0)) for number in range(30)]  # 10 with objects, 20 without
    drawn = draw_records(records, seed=0, most=24)
    assert len({one.name for one in drawn}) == len(drawn)
    assert [sum(one.label == label for one in drawn) for label in (0, 1)] == [12, 10]
    assert draw_records(records, seed=0, most=24) == drawn
    assert draw_records(records, seed=1, most=24) != drawn
    assert draw_records(records[1:3], seed=0) in (records[1:3], records[2:0:-1])  # one class only


def test_films_come_in_batches_as_the_network_takes_them(tmp_path):
    config = make_run(tmp_path)  # 5 training films with objects, 2 without
    batches = list(training_films(config, torch.device("cpu")))
    assert [tuple(images.shape) for images, _ in batches] == [(2, 3, SIZE, SIZE)] * 3 + [(1, 3, SIZE, SIZE)]
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == [0, 0, 1, 1, 1, 1, 1]
    again = list(training_films(config, torch.device("cpu")))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(batches, again, strict=True))


def test_a_job_draws_them_only_for_methods_that_learn_from_them(tmp_path):
    config = make_run(tmp_path)
    (config.data / "train.csv").unlink()
    context = open_job(config).context()
    METHODS["normgrad_conv1x1_combined"].prepare(context)
    with pytest.raises(UserError, match=r"train\.csv"):
        METHODS["normgrad_conv1x1_combined_probe"].prepare(context)


def test_the_context_of_a_job_has_its_budget(tmp_path):
    context = open_job(make_run(tmp_path).replace(budget=44)).context()
    assert (context.budget, context.image_size) == (44, SIZE)
    assert len(context.references) == 2
    assert len(context.probe_weights) == 4
