from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.analysis.significance import against_best, ranking
from benchmarks.analysis.weighing import Weighing, drawn_films

# Five questions about three images, of two classes.
QUESTIONS = pd.DataFrame(
    {"file": list("aabcc"), "class": ["cat", "dog", "cat", "cat", "dog"]},
    index=["q0", "q1", "q2", "q3", "q4"],
)
VALUES = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])


def test_the_mean_over_classes_and_that_over_questions():
    by_class = Weighing.of(QUESTIONS.index, QUESTIONS)
    np.testing.assert_allclose(by_class.mean(VALUES), [(2 / 3 + 1 / 2) / 2, (0 + 1) / 2])
    pooled = Weighing.of(QUESTIONS.index, QUESTIONS, by_class=False)
    np.testing.assert_allclose(pooled.mean(VALUES), [3 / 5, 2 / 5])
    np.testing.assert_allclose(Weighing.of(QUESTIONS.index).mean(VALUES), [3 / 5, 2 / 5])


def test_all_questions_of_an_image_are_drawn_together():
    """Each resample by a loop over the images drawn."""
    expected = {True: [], False: []}
    for draw in drawn_films(3, seed=7, resamples=150):
        rows = [row for image, times in zip("abc", draw, strict=True) for row in _rows(image) * int(times)]
        chosen, classes = VALUES[rows], QUESTIONS["class"].to_numpy()[rows]
        expected[False].append(chosen.mean(axis=0))
        expected[True].append(np.mean([chosen[classes == name].mean(axis=0) for name in np.unique(classes)], axis=0))
    for by_class, means in expected.items():
        weighing = Weighing.of(QUESTIONS.index, QUESTIONS, by_class=by_class)
        np.testing.assert_allclose(weighing.resampled(VALUES, seed=7, resamples=150), means)


def _rows(image):
    return [row for row, file in enumerate(QUESTIONS["file"]) if file == image]


def test_the_best_method_is_that_of_the_highest_mean_over_classes():
    hits = pd.DataFrame(
        {"many": [True, True, True, False, False], "even": [True, False, False, True, False]},
        index=["q0", "q2", "q3", "q1", "q4"],
    )
    # many: all cats, no dogs: (1 + 0) / 2; even: one of three cats, one of two dogs: (1/3 + 1/2) / 2.
    assert ranking(hits, QUESTIONS) == ["many", "even"]
    np.testing.assert_allclose(against_best(hits, QUESTIONS)["accuracy"], [1 / 2, 5 / 12])
    other = hits.assign(even=[True, False, False, True, True])  # (1/3 + 1) / 2 now, and three hits as many has
    assert ranking(other, QUESTIONS) == ["even", "many"]
    assert ranking(other) == ["many", "even"]
