from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_run import POSITIVES, SIZE, make_run
from torch import nn

from benchmarks.methods import Method
from benchmarks.metrics.frame import FRAME
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.score import open_job


class ByBrightness(nn.Module):
    """Calls a film clean that is darker than a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((1, 2, 3)) - self.limit
        return torch.stack([-bright, bright], dim=1)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Five annotated films in one batch, of which the two darkest are taken for clean."""
    config = make_run(tmp_path_factory.mktemp("batch"), score_batch_size=POSITIVES)
    job = open_job(config)
    brightness = FilmBatch(job, 0).images.mean((1, 2, 3)).sort().values
    return replace(job, network=ByBrightness(float(brightness[1] + brightness[2]) / 2))


def method(family="baseline"):
    return Method("corners", "Corners", lambda context: corners, family)


def corners(images, targets):
    """The class "clean" is seen at the top left, "object" at the bottom right; below zero everywhere else."""
    maps = torch.full((len(images), 1, SIZE, SIZE), -1.0)
    maps[targets == 0, :, 0, 0] = 3.0
    maps[targets == 1, :, -1, -1] = 3.0
    return maps


def test_films_that_the_classifier_gets_wrong_are_also_played_with_the_true_class(job):
    batch = FilmBatch(job, 0)
    wrong = [record.name for record, target in zip(batch.records, batch.targets, strict=True) if target == 0]
    assert len(wrong) == 2

    rows = batch.play(method(), corners)

    assert len(rows["plays"]) == 2 * POSITIVES
    true = [(row["image"], row["protocol"]) for row in rows["plays_true"]]
    assert true == [(name, protocol) for protocol in ("paper", "fair") for name in wrong]
    for table, played in rows.items():
        for row in played:
            target = 0 if table == "plays" and row["image"] in wrong else 1
            assert (row["x"] < FRAME / 2) == (target == 0)
    for verdict in batch.verdicts:
        assert (verdict["label"], verdict["target"]) == (1, 0 if verdict["image"] in wrong else 1)
        assert verdict["probability"] > 0.5
        true_share = 1 - verdict["probability"] if verdict["target"] == 0 else verdict["probability"]
        assert verdict["label_probability"] == pytest.approx(true_share)


def test_without_a_wrong_film_there_are_no_further_rows(job):
    batch = FilmBatch(replace(job, network=ByBrightness(-1e3)), 0)
    assert batch.play(method(), corners)["plays_true"] == []


def test_films_that_were_judged_before_are_not_judged_again(job):
    batch = FilmBatch(job, 0)
    verdicts = pd.DataFrame(batch.verdicts).sample(frac=1, random_state=0)
    again = FilmBatch(replace(job, network=None), 0, verdicts)
    assert again.verdicts == batch.verdicts
    assert torch.equal(again.targets, batch.targets)
    missing = FilmBatch(job, 0, verdicts.iloc[1:])
    assert missing.verdicts == batch.verdicts


def test_lots_know_the_film_and_not_its_company(job):
    whole = FilmBatch(job, 0)
    rest = FilmBatch(replace(job, positives=job.positives[2:]), 0)
    assert rest.image_ids == whole.image_ids[2:]
    assert len(set(whole.image_ids)) == POSITIVES


def test_energy_and_iou_are_those_of_the_map_in_the_frame(job):
    batch = FilmBatch(job, 0)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(POSITIVES, 1, FRAME, FRAME, generator=generator, dtype=torch.float64)

    rows = batch.play(method("gradient"), lambda images, targets: maps[: len(images)])["plays"]

    for i, position in enumerate(batch.positions):
        plane = maps[i, 0].numpy()
        mask = np.zeros((FRAME, FRAME), dtype=bool)
        x1, y1, x2, y2 = job.films.records[position].shapes[0].box
        # Films of 90 x 60 on a frame of 600: columns x 20/3, rows x 10.
        mask[int(y1 * 10) : int(y2 * 10), int(np.floor(x1 * 20 / 3)) : int(np.ceil(x2 * 20 / 3))] = True
        highest = plane >= np.sort(plane, axis=None)[-mask.sum()]
        clipped = np.minimum(plane, np.quantile(plane, 0.99))
        clipped = (clipped - clipped.min()) / np.ptp(clipped)
        expected = {"fair": np.clip(plane, 0, None), "paper": clipped}
        for row in rows:
            if row["image"] == batch.records[i].name:
                energy = expected[row["protocol"]]
                assert row["energy"] == pytest.approx(energy[mask].sum() / energy.sum())
                if row["protocol"] == "fair":
                    assert row["iou"] == pytest.approx((highest & mask).sum() / (highest | mask).sum())


def test_a_map_that_is_not_finite_has_no_energy_and_a_constant_one_that_of_its_area(job):
    def explain(images, targets):
        maps = torch.zeros(len(images), 1, 4, 4)
        maps[0, 0, 1, 1] = torch.nan
        return maps

    batch = FilmBatch(job, 0)
    for row in batch.play(method(), explain)["plays"]:
        i = [record.name for record in batch.records].index(row["image"])
        area = float(batch.masks[i].double().mean())
        if i == 0:
            assert (row["status"], row["energy"], row["iou"]) == ("non_finite", None, None)
        else:
            assert row["energy"] == pytest.approx(area)
            assert row["iou"] == pytest.approx(area / (2 - area))
