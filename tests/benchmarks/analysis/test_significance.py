from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from benchmarks.analysis.significance import against_best, holm, mcnemar, rank_intervals, tied_groups
from benchmarks.analysis.tallies import resampled_hits


def hits(**columns: str) -> pd.DataFrame:
    """Hits written as strings of 0 and 1."""
    return pd.DataFrame({name: [letter == "1" for letter in text] for name, text in columns.items()})


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (5, 0, 2 / 32),
        (6, 1, 2 * 8 / 128),  # 1 + 7 of 2^7 outcomes in each tail
        (4, 4, 1.0),
        (2, 9, 2 * (1 + 11 + 55) / 2048),
    ],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p: float) -> None:
    both = [(True, True)] * 3 + [(False, False)] * 2
    pairs = np.array(both + [(True, False)] * only_a + [(False, True)] * only_b)

    assert mcnemar(pairs[:, 0], pairs[:, 1]) == (only_a, only_b, pytest.approx(p))


def test_mcnemar_is_the_exact_paired_permutation_test() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random(12) < 0.7, generator.random(12) < 0.4

    expected = permutation_test(
        (a.astype(float), b.astype(float)), lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples",
        n_resamples=np.inf, alternative="two-sided",
    )  # fmt: skip

    assert mcnemar(a, b)[2] == pytest.approx(expected.pvalue)


def test_questions_of_an_image_change_sides_together() -> None:
    # Differences of the images: 2, 1, 1, -1 and 0. Of the 16 sums of +-2 +-1 +-1 +-1 those of 3 and more are
    # 5 (one way) and 3 (three ways), on either side.
    a = np.array([1, 1, 1, 1, 0, 1, 0, 1], dtype=bool)
    b = np.array([0, 0, 0, 0, 1, 0, 1, 1], dtype=bool)
    images = np.array([0, 0, 1, 2, 3, 4, 4, 5])

    assert mcnemar(a, b, images) == (5, 2, pytest.approx(2 * 4 / 16))


@pytest.mark.parametrize("seed", range(6))
def test_mcnemar_counts_what_trying_all_exchanges_counts(seed: int) -> None:
    generator = np.random.default_rng(seed)
    images = np.sort(generator.integers(0, 9, 26))
    a, b = generator.random(26) < 0.8, generator.random(26) < 0.45
    sums = np.bincount(images, a.astype(int) - b, minlength=9)

    outcomes = np.array([np.dot(signs, sums) for signs in itertools.product((-1, 1), repeat=9)])

    assert mcnemar(a, b, images)[2] == pytest.approx((np.abs(outcomes) >= abs(sums.sum())).mean())
    alone = np.arange(26)
    assert mcnemar(a, b, alone) == mcnemar(a, b)


def test_mcnemar_keeps_its_level_where_questions_of_an_image_go_together() -> None:
    """Two methods that are alike, each right on all three questions of an image or on none."""
    generator = np.random.default_rng(0)
    images = np.repeat(np.arange(25), 3)
    p = []
    for _ in range(600):
        a, b = (np.repeat(generator.random(25) < 0.5, 3) for _ in range(2))
        p.append([mcnemar(a, b, images)[2], mcnemar(a, b)[2]])
    together, apart = (np.array(p) < 0.05).mean(axis=0)

    assert together < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert apart > 0.12  # as if each question were an image


def test_tests_of_questions_know_their_images() -> None:
    table = hits(good="1" * 24, poor="0" * 9 + "1" * 15)
    table.index = [f"q{i}" for i in range(24)]
    questions = pd.DataFrame({"file": [f"{i // 3}" for i in range(24)], "class": [""] * 24}, index=table.index)

    assert against_best(table).loc[1, "p"] == pytest.approx(2 / 2**9)
    assert against_best(table, questions).loc[1, "p"] == pytest.approx(2 / 2**3)
    assert tied_groups(table) == []
    assert tied_groups(table, questions) == [["good", "poor"]]


def test_holm_by_hand() -> None:
    # Sorted: .01 * 4, .02 * 3, .03 * 2 (not below the one before), .5 * 1.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert len(holm([])) == 0


def test_against_best() -> None:
    table = against_best(hits(poor="0" * 20, good="1" * 20, fair="1" * 17 + "0" * 3)).set_index("method")

    assert list(table.index) == ["good", "fair", "poor"]
    assert set(table["best"]) == {"good"}
    assert (table.loc["fair", "only_best"], table.loc["fair", "only_method"]) == (3, 0)
    assert table.loc["fair", "p"] == table.loc["fair", "p_holm"] == pytest.approx(0.25)
    assert table.loc["poor", "p_holm"] == pytest.approx(2 * 2 * 0.5**20)
    assert table["differs"].to_dict() == {"good": False, "fair": False, "poor": True}


def test_one_method_is_the_best() -> None:
    table = against_best(hits(only="101"))

    assert table["method"].tolist() == ["only"]
    assert not table["differs"].any()


def test_groups_join_neighbours_that_are_not_told_apart() -> None:
    n = 60
    chain = {f"m{share}": "1" * share + "0" * (n - share) for share in (50, 44, 38, 10)}

    # Neighbours differ on 6 films (p = 2/64, times 3 or more), m50 and m38 on 12 (p = 2/4096, times 4 pairs at most).
    assert tied_groups(hits(**chain)) == [["m50", "m44"], ["m44", "m38"]]
    assert tied_groups(hits(a="1" * n, b="0" * n)) == []
    same = hits(a="10" * 9, b="10" * 9, c="01" * 9)
    assert tied_groups(same) == [["a", "b", "c"]]


def test_no_two_members_of_a_group_differ() -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({f"m{i}": generator.random(80) < i / 8 for i in range(8)})
    pairs = list(itertools.combinations(table.columns, 2))
    adjusted = dict(zip(pairs, holm([mcnemar(table[a], table[b])[2] for a, b in pairs]), strict=True))

    groups = tied_groups(table)

    assert groups
    for group in groups:
        assert all(adjusted.get(pair, adjusted.get(pair[::-1])) >= 0.05 for pair in itertools.combinations(group, 2))


def test_rank_intervals() -> None:
    table = hits(best="1" * 30, a="10" * 15, b="01" * 15, worst="0" * 30)
    low, high = rank_intervals(resampled_hits([table], seed=0, resamples=400)[0])

    assert low.tolist() == [1, 2, 2, 4]
    assert high.tolist() == [1, 3, 3, 4]


def test_equal_methods_have_all_ranks_that_they_share() -> None:
    low, high = rank_intervals([[0.9, 0.9, 0.9, 0.2], [0.8, 0.8, 0.8, 0.1]])
    assert low.tolist() == [1, 1, 1, 4]
    assert high.tolist() == [3, 3, 3, 4]
