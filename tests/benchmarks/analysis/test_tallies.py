from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from benchmarks.analysis.tallies import (
    SUMMARY_COLUMNS,
    hit_matrix,
    mean_chance,
    resampled_hits,
    seconds_per_image,
    status_counts,
    summarise,
)
from benchmarks.analysis.weighing import Weighing


def rows(method, distances, seconds=0.1, protocol="fair", status="ok"):
    return [
        {
            "image": f"{i:03d}",
            "method": method,
            "protocol": protocol,
            "distance": distance,
            "seconds": seconds,
            "status": status,
            "batch": i // 2,
        }
        for i, distance in enumerate(distances)
    ]


def both(method, distances, **options):
    return rows(method, distances, **options) + rows(method, distances, protocol="paper", **options)


def test_hit_matrix_by_hand():
    scores = pd.DataFrame(both("a", [0.0, 14.9, 15.0, np.nan]) + both("b", [3.0, 0.0, 24.0, 25.0]))
    assert hit_matrix(scores, "fair", 0).to_dict("list") == {
        "a": [True, False, False, False],
        "b": [False, True, False, False],
    }
    assert hit_matrix(scores, "fair", 15).sum().to_dict() == {"a": 2, "b": 2}
    assert hit_matrix(scores, "paper", 25).sum().to_dict() == {"a": 3, "b": 3}


def test_a_method_that_was_not_scored_on_every_film_is_left_out():
    scores = pd.DataFrame(both("a", [0.0, 1.0, 2.0]) + both("b", [0.0, 1.0]))
    assert list(hit_matrix(scores, "fair", 0).columns) == ["a"]
    # A map that is not finite has no distance, but it was scored: a miss.
    scores = pd.DataFrame(both("a", [0.0, 1.0]) + both("b", [np.nan, np.nan], status="non_finite"))
    assert hit_matrix(scores, "fair", 25).sum().to_dict() == {"a": 2, "b": 0}


def test_summary_by_hand():
    distances = [0.0] * 12 + [10.0] * 5 + [20.0] * 2 + [99.0]
    summary = summarise(pd.DataFrame(both("a", distances) + both("b", [99.0] * 20)), order=["b", "a", "c"])
    assert tuple(summary.columns) == SUMMARY_COLUMNS
    assert len(summary) == 2 * 3 * 2
    fair = summary[(summary["protocol"] == "fair") & (summary["method"] == "a")]
    assert fair["tolerance"].tolist() == [0, 15, 25]
    assert fair["hits"].tolist() == [12, 17, 19]
    assert fair["accuracy"].tolist() == [0.6, 0.85, 0.95]
    assert (summary["images"] == 20).all()
    assert summary["method"].tolist()[:2] == ["b", "a"]
    for row in summary.itertuples():
        expected = binomtest(row.hits, 20).proportion_ci(method="wilson")
        assert [row.ci_low, row.ci_high] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_seconds_are_the_median_over_batches_without_the_first():
    scores = pd.DataFrame(rows("a", range(8)) + rows("b", range(2), seconds=7.0))
    scores.loc[scores["method"] == "a", "seconds"] = np.repeat([9.0, 0.2, 0.4, 0.3], 2)
    assert seconds_per_image(scores[scores["method"] == "a"]).to_dict() == {"a": 0.3}
    assert seconds_per_image(scores[scores["method"] == "b"]).to_dict() == {"b": 7.0}  # only a first batch


def test_every_method_has_seconds_also_when_only_some_have_more_batches():
    scores = pd.DataFrame(rows("a", range(8)) + rows("b", range(2), seconds=7.0))
    assert set(seconds_per_image(scores).index) == {"a", "b"}


def test_counts_and_chance():
    scores = pd.DataFrame(
        rows("a", [1, 2]) + rows("b", [1, 2, 3], status="constant") + rows("c", [1], protocol="paper")
    )
    assert status_counts(scores, "fair").to_dict("index") == {
        "a": {"constant": 0, "non_finite": 0},
        "b": {"constant": 3, "non_finite": 0},
    }
    chance = pd.DataFrame({"image": ["1", "2"] * 2, "tolerance": [0, 0, 15, 15], "chance": [0.1, 0.2, 0.3, 0.5]})
    assert mean_chance(chance) == {0: pytest.approx(0.15), 15: pytest.approx(0.4)}


def test_matrices_that_are_drawn_together_have_the_draws_of_each():
    hits = np.random.default_rng(0).random((30, 5)) < 0.5
    parts = [pd.DataFrame(hits[:, columns]) for columns in ([0, 1], [2], [3, 4])]
    together = resampled_hits(parts, seed=3, resamples=50)
    assert [draws.shape for draws in together] == [(50, 2), (50, 1), (50, 2)]
    weighing = Weighing(np.arange(30))
    for part, draws in zip(parts, together, strict=True):
        assert (draws == weighing.resampled(part.to_numpy(), seed=3, resamples=50)).all()
