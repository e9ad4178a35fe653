from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from benchmarks.analysis.hierarchical import (
    DIFFERENCE_COLUMNS,
    SEEDS_COLUMNS,
    differences,
    drawn_means,
    mean_interval,
    share_over_seeds,
    summarise_seeds,
)
from benchmarks.analysis.weighing import RESAMPLES, Weighing

EASY, HARD = 0.0, 99.0  # distances of a hit and of a miss


def scores(marks: dict[str, str], seconds: float = 0.1) -> pd.DataFrame:
    """Rows of one seed whose methods hit the films marked 1."""
    rows = [
        (f"{i}.png", method, protocol, EASY if mark == "1" else HARD, "ok", seconds, i // 2)
        for method, hits in marks.items()
        for protocol in ("paper", "fair")
        for i, mark in enumerate(hits)
    ]
    return pd.DataFrame(rows, columns=["image", "method", "protocol", "distance", "status", "seconds", "batch"])


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["protocol"] == "fair") & (table["tolerance"] == 15)]


def test_summary_over_seeds_by_hand() -> None:
    runs = [
        scores({"a": "1110", "b": "1111", "only": "1111"}, seconds=0.1),
        scores({"b": "1100", "a": "1010"}, seconds=0.3),
        scores({"a": "0000", "b": "1111"}, seconds=0.2),
    ]
    table = summarise_seeds(runs, 0, ["b", "a", "only", "none"])
    assert tuple(table.columns) == SEEDS_COLUMNS
    assert len(table) == 2 * 3 * 2
    rows = chosen(table).set_index("method")
    assert list(rows.index) == ["b", "a"]  # what all seeds have
    assert rows["accuracy"].to_dict() == pytest.approx({"b": (1 + 0.5 + 1) / 3, "a": (0.75 + 0.5 + 0) / 3})
    assert rows["sd"].to_dict() == pytest.approx(
        {"b": np.std([1, 0.5, 1], ddof=1), "a": np.std([0.75, 0.5, 0], ddof=1)}
    )
    assert rows.loc["a", ["lowest", "highest", "seeds", "images"]].tolist() == [0, 0.75, 3, 4]
    assert rows.loc["a", "seconds_per_image"] == pytest.approx(0.2)
    assert ((rows["ci_low"] <= rows["accuracy"]) & (rows["accuracy"] <= rows["ci_high"])).all()
    assert (rows["ci_low"] >= 0).all()


def test_a_difference_holds_with_one_sign_in_all_seeds_and_an_interval_beside_0() -> None:
    films = 40
    good, bad, turned = "1" * 36 + "0" * 4, "1" * 8 + "0" * 32, "1" * 37 + "0" * 3
    runs = [scores({"good": good, "bad": bad, "other": turned}) for _ in range(2)]
    runs.append(scores({"good": good, "bad": bad, "other": "1" * 30 + "0" * 10}))
    table = differences(runs, 0, ["good", "bad", "other"])
    assert tuple(table.columns) == DIFFERENCE_COLUMNS
    rows = chosen(table).set_index(["better", "worse"])
    assert len(rows) == 3
    assert rows.loc[("good", "bad"), "difference"] == pytest.approx(28 / films)
    assert rows.loc[("good", "bad"), ["seeds_agree", "seeds"]].tolist() == [3, 3]
    assert bool(rows.loc[("good", "bad"), "holds"])
    # 90 % against 92.5, 92.5 and 75 %: better on the mean, in one seed of three.
    assert rows.loc[("good", "other"), "difference"] == pytest.approx(0.9 - (0.925 * 2 + 0.75) / 3)
    assert rows.loc[("good", "other"), "seeds_agree"] == 1
    assert not rows.loc[("good", "other"), "holds"]


def test_equal_seeds_leave_the_interval_of_the_films() -> None:
    hits = np.arange(60)[:, None] < [40, 12]
    low, high = np.quantile(Weighing(np.arange(60)).resampled(hits, 5), [0.025, 0.975], axis=0)
    for seeds in (1, 2, 4):
        means, lower, upper = mean_interval([hits] * seeds, 5)
        assert means == pytest.approx(hits.mean(axis=0))
        assert lower == pytest.approx(low)
        assert upper == pytest.approx(high)


def test_shares_that_resamples_know_nothing_of_have_wilsons_interval() -> None:
    seeds = [np.arange(40)[:, None] < [0, 40, hits] for hits in (24, 30)]
    shares, low, high = share_over_seeds(seeds, 5)
    assert shares == pytest.approx([0, 1, 27 / 40])
    none, every = (binomtest(hits, 40).proportion_ci(method="wilson") for hits in (0, 40))
    assert [low[0], high[0], low[1], high[1]] == pytest.approx([none.low, none.high, every.low, every.high], abs=1e-12)
    assert [low[2], high[2]] == pytest.approx([end[2] for end in mean_interval(seeds, 5)[1:]])
    # Of one seed, here of the 30 films that count, it is always Wilson's.
    there = np.broadcast_to(np.arange(40)[:, None] < 30, (40, 3))
    _, low, high = share_over_seeds([seeds[0] & there], 5, there=[there])
    expected = binomtest(24, 30).proportion_ci(method="wilson")
    assert [low[2], high[2]] == pytest.approx([expected.low, expected.high])


def _coverage(seeds: int, films: int, between: float, within: float, resampled_alone: bool = False) -> float:
    """How often the interval holds the true mean, 0, over 1500 sets that are drawn from normal distributions.

    The columns are the sets: they share the draws of the bootstrap, and nothing else.
    """
    generator, sets = np.random.default_rng(11), 1500
    film = within * generator.normal(size=(films, sets))  # as hard for every seed
    values = [
        film + between * generator.normal(size=sets) + within * generator.normal(size=(films, sets))
        for _ in range(seeds)
    ]
    draws = drawn_means(values, 3)
    if resampled_alone:  # as it would be without what is known of few seeds
        factor = np.sqrt(seeds / (seeds - 1)) * t.ppf(0.975, seeds - 1) / 1.959964
        middle = np.mean([matrix.mean(axis=0) for matrix in values], axis=0)
        draws = middle + (draws - middle) / factor
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return float(((low <= 0) & (high >= 0)).mean())


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_holds_the_truth_as_often_as_it_says_where_seeds_vary_most(seeds: int) -> None:
    assert _coverage(seeds, films=50, between=1.0, within=0.5) == pytest.approx(0.95, abs=0.025)


def test_resampling_a_few_seeds_alone_would_promise_too_much() -> None:
    """The test above can fail: with three seeds the plain bootstrap holds the truth far too seldom."""
    assert _coverage(3, films=50, between=1.0, within=0.5, resampled_alone=True) < 0.8


def test_the_interval_errs_on_the_safe_side_where_films_vary_most() -> None:
    assert 0.93 < _coverage(5, films=50, between=0.0, within=1.0) <= 1


@given(seeds=st.integers(1, 4), films=st.integers(1, 6), columns=st.integers(1, 3), number=st.integers(0, 2**32 - 1))
def test_any_shape_gives_ordered_bounded_numbers(seeds: int, films: int, columns: int, number: int) -> None:
    generator = np.random.default_rng(number)
    there = [generator.random((films, columns)) < 0.7 for _ in range(seeds)]
    values = [(generator.random((films, columns)) < 0.5) & known for known in there]
    assert drawn_means(values, number).shape == (RESAMPLES, columns)
    means, low, high = mean_interval(values, number, there=there)
    for i in range(columns):
        count = sum(int(known[:, i].sum()) for known in there)
        if count == 0:
            assert np.isnan([means[i], low[i], high[i]]).all()
        else:
            assert means[i] == pytest.approx(sum(int(v[:, i].sum()) for v in values) / count)
            assert 0 <= low[i] <= high[i] <= 1
