from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from benchmarks.analysis.true_positives import ALL, MEAN, TRUE_POSITIVES, localisation_table, youden_threshold

ROWS = pd.DataFrame(
    [
        ("1.png", "cat", "1: cat", True, 1.0),
        ("1.png", "dog", None, True, 1.0),  # a false positive
        ("2.png", "cat", "2: cat", False, 1.0),
        ("2.png", "dog", "2: dog", True, 1.0),
        ("3.png", "cat", None, True, 1.0),  # a false positive
        ("3.png", "dog", "3: dog", False, 1.0),
        ("4.png", "cat", None, False, 1.0),
        ("4.png", "dog", None, False, 1.0),
    ],
    columns=["file", "class", "question", "says", "stands_for"],
)


def values(measure: str, **by_question: float) -> pd.DataFrame:
    rows = [(f"{name[1]}: {name[3:]}", "a", measure, value) for name, value in by_question.items()]
    return pd.DataFrame(rows, columns=["image", "method", "measure", "value"])


HITS = values("hit_rate", q1_cat=1, q2_cat=1, q2_dog=0, q3_dog=1)
IOUS = values("otsu_iou", q1_cat=0.6, q2_cat=0.4, q2_dog=0.2, q3_dog=0.8)


def means(*tables: pd.DataFrame, rows: pd.DataFrame = ROWS, **settings: bool) -> pd.DataFrame:
    table = localisation_table(pd.concat(tables), rows, {"cat": 0.3}, 0, **settings)
    return table.set_index(["measure", "rows", "class"]).sort_index()


def test_both_tables_by_hand() -> None:
    table = means(HITS, IOUS)
    expected = {
        # True positives are the cat on 1 and the dog on 2.
        ("hit_rate", TRUE_POSITIVES): (1, 0),
        ("otsu_iou", TRUE_POSITIVES): (0.6, 0.2),
        # Hits are asked of every cat and dog. The cat's mask on 2 is empty, and on 3 there is one of no cat.
        ("hit_rate", ALL): (1, 1 / 2),
        ("otsu_iou", ALL): ((0.6 + 0 + 0) / 3, (0.2 + 0 + 0) / 3),
    }
    for key, (cat, dog) in expected.items():
        found = table.loc[key, "value"]
        assert found[["cat", "dog", MEAN]].tolist() == pytest.approx([cat, dog, (cat + dog) / 2]), key
    assert table.loc[("otsu_iou", ALL, "cat"), ["questions", "false_positives"]].tolist() == [2, 1]
    assert table.loc[("hit_rate", ALL, "cat"), ["questions", "false_positives"]].tolist() == [2, 0]
    assert table.loc[("otsu_iou", TRUE_POSITIVES, MEAN), ["questions", "false_positives"]].tolist() == [2, 0]
    assert table.loc[("hit_rate", ALL), "threshold"].to_dict() == pytest.approx(
        {MEAN: np.nan, "cat": 0.3, "dog": np.nan}, nan_ok=True
    )


def test_the_mean_over_rows_counts_all_alike() -> None:
    table = means(HITS, IOUS[:3], by_class=False)  # the dog on 3 was not measured
    assert table.loc[("hit_rate", ALL, MEAN), "value"] == 3 / 4
    assert table.loc[("otsu_iou", TRUE_POSITIVES, MEAN), "value"] == pytest.approx((0.6 + 0.2) / 2)
    # Of the dogs one was measured; it and half of the false positive are 1.5 rows, and the cats' are 3.
    assert table.loc[("otsu_iou", ALL, MEAN), "value"] == pytest.approx((0.6 + 0.2) / (3 + 1.5))


def test_of_some_questions_the_others_are_taken_to_be_alike() -> None:
    table = means(IOUS[[True, False, True, True]])  # the cat on 2 was not measured
    assert table.loc[("otsu_iou", ALL, "cat"), "value"] == pytest.approx(0.6 * 2 / 3)
    assert table.loc[("otsu_iou", ALL, "cat"), "questions"] == 1


def test_an_image_without_anything_may_stand_for_several() -> None:
    rows = ROWS.assign(says=True, stands_for=np.where(ROWS["file"] == "4.png", 5.0, 1.0))
    table = means(IOUS, rows=rows)
    assert table.loc[("otsu_iou", ALL, "cat"), "value"] == pytest.approx((0.6 + 0.4) / (2 + 1 + 5))
    assert table.loc[("otsu_iou", ALL, "cat"), "false_positives"] == 6


def test_a_class_without_a_true_positive_has_no_part_in_the_mean() -> None:
    table = means(HITS, rows=ROWS.assign(says=ROWS["class"] == "dog"))
    assert np.isnan(table.loc[("hit_rate", TRUE_POSITIVES, "cat"), "value"])
    assert table.loc[("hit_rate", TRUE_POSITIVES, "cat"), "questions"] == 0
    assert table.loc[("hit_rate", TRUE_POSITIVES, MEAN), "value"] == 1 / 2


@pytest.mark.parametrize("measure", ["hit_rate", "otsu_iou"])
def test_intervals_are_over_images(measure: str) -> None:
    """Of 40 images each with a cat and a dog that are hit together, the mean is as sure as 40 and not 80 hits are."""
    generator = np.random.default_rng(0)
    hit = generator.random(40) < 0.5
    rows = pd.DataFrame(
        [(f"{i}", of, f"{i}: {of}", True, 1.0) for i in range(40) for of in ("cat", "dog")], columns=ROWS.columns
    )
    hits = pd.DataFrame(
        [(f"{i}: {of}", "a", measure, float(hit[i])) for i in range(40) for of in ("cat", "dog")],
        columns=["image", "method", "measure", "value"],
    )
    row = means(hits, rows=rows).loc[(measure, ALL, MEAN)]
    deviation = np.sqrt(hit.mean() * (1 - hit.mean()) / 40)
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * 1.96 * deviation, rel=0.1)


@pytest.mark.parametrize("hits", [0, 3, 12])
def test_a_share_of_hits_has_wilsons_interval_as_accuracies_have(hits: int) -> None:
    rows = pd.DataFrame([(f"{i}", "cat", f"{i}: cat", i < 9, 1.0) for i in range(12)], columns=ROWS.columns)
    marks = pd.DataFrame(
        [(f"{i}: cat", "a", "hit_rate", float(i < hits)) for i in range(12)],
        columns=["image", "method", "measure", "value"],
    )
    table = means(marks, rows=rows)
    for which, questions in ((ALL, 12), (TRUE_POSITIVES, 9)):
        ends = binomtest(min(hits, questions), questions).proportion_ci(method="wilson")
        for name in (MEAN, "cat"):
            assert table.loc[("hit_rate", which, name), ["ci_low", "ci_high"]].tolist() == pytest.approx(list(ends))


def test_youdens_threshold_by_trying_all() -> None:
    generator = np.random.default_rng(1)
    present = generator.random(30) < 0.4
    shares = np.where(present, generator.random(30) ** 0.5, generator.random(30) ** 2).round(2)

    def gain(threshold: float) -> float:
        says = shares >= threshold
        return float(says[present].mean() + (~says[~present]).mean())

    found = youden_threshold(present, shares)
    assert found is not None
    assert gain(found) == pytest.approx(max(gain(x) for x in np.linspace(0, 1, 1001)))
    assert youden_threshold(np.ones(3, bool), np.array([0.1, 0.2, 0.3])) is None
    assert youden_threshold(np.zeros(3, bool), np.array([0.1, 0.2, 0.3])) is None


def test_of_equal_gains_youdens_threshold_is_the_largest_probability() -> None:
    present = np.array([False, True, False, True, True, True, True, True])
    shares = np.array([0.0, 0.4, 0.4, 0.2, 0.6, 0.0, 0.6, 0.2])
    # At 0.2 five of six and one of two are right, at 0.6 two of six and two of two: 4/3 both.
    assert youden_threshold(present, shares) == 0.6
