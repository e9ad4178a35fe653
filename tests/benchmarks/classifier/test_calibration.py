from __future__ import annotations

import numpy as np
import pytest

from benchmarks.classifier.calibration import unsure_range


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, 0.0), (2.0, 1.0)])
def test_finds_where_a_known_share_of_verdicts_is_right(slope: float, offset: float) -> None:
    """Labels are drawn with the chance that a known curve gives the classifier's probabilities."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-6, 6, 40_000)
    labels = rng.random(len(z)) < sigmoid(slope * z + offset)

    low, high = unsure_range(sigmoid(z), labels, sure=0.9)

    nine = np.log(9)  # the logit of 0.9
    assert low == pytest.approx(min(sigmoid((-nine - offset) / slope), 0.5), abs=0.01)
    assert high == pytest.approx(max(sigmoid((nine - offset) / slope), 0.5), abs=0.01)
    assert low < np.quantile(sigmoid(z), 0.5) < high


def test_more_certainty_wants_a_wider_range() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(0, 3, 500)
    labels = rng.random(500) < sigmoid(z)

    ranges = [unsure_range(sigmoid(z), labels, sure) for sure in (0.6, 0.75, 0.9, 0.99)]

    assert [low for low, _ in ranges] == sorted((low for low, _ in ranges), reverse=True)
    assert [high for _, high in ranges] == sorted(high for _, high in ranges)


def test_a_split_without_errors_leaves_a_range() -> None:
    labels = np.arange(200) % 2
    probabilities = np.where(labels == 1, 1.0, 0.0)  # saturated, as float32 gives them

    low, high = unsure_range(probabilities, labels)

    assert 1e-6 < low < 0.5 < high < 1 - 1e-6


def test_a_classifier_that_knows_nothing_is_never_sure() -> None:
    rng = np.random.default_rng(2)
    low, high = unsure_range(rng.random(400), np.arange(400) % 2)
    assert low < 0.01
    assert high > 0.99
    assert unsure_range([0.9, 0.8, 0.7, 0.3, 0.2, 0.1] * 20, [0, 0, 0, 1, 1, 1] * 20) == (0.0, 1.0)


def test_the_turn_of_the_verdict_is_never_sure() -> None:
    """A classifier that says 0.6 where it should say 0.01: no sure verdict may be drawn from 0.5."""
    rng = np.random.default_rng(3)
    z = rng.uniform(-8, 8, 4000)
    labels = rng.random(len(z)) < sigmoid(z - 5)

    low, high = unsure_range(sigmoid(z), labels)

    assert low == 0.5
    assert high == pytest.approx(sigmoid(5 + np.log(9)), abs=0.01)
