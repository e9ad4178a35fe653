from __future__ import annotations

import json

import numpy as np
import pandas as pd

from benchmarks.evaluation.network_verdicts import Verdicts

QUESTIONS = pd.DataFrame(
    [("a.png", "cat"), ("b.png", "dog")], columns=["file", "class"], index=["a.png: cat", "b.png: dog"]
)


def verdicts(**changed: object) -> Verdicts:
    """Three images; of the cat on b nobody knows where it is."""
    settings = {
        "images": ("a.png", "b.png", "c.png"),
        "classes": ("cat", "dog"),
        "labelled": np.array([[1, 0], [1, 1], [0, 0]], dtype=bool),
        "probabilities": np.array([[0.3, 0.7], [0.9, 0.2], [0.6, 1 / 3]], dtype=np.float32),
        "stands_for": np.array([1.0, 1.0, 2.5]),
        "chosen": None,
    }
    return Verdicts(**{**settings, **changed})  # type: ignore[arg-type]


def rows(found: pd.DataFrame) -> set[tuple[object, ...]]:
    return {tuple(None if value is None or value != value else value for value in row) for row in found.to_numpy()}


def test_what_is_asked_and_what_is_wrongly_said() -> None:
    expected = {
        ("a.png", "cat", "a.png: cat", False, 1.0),
        ("a.png", "dog", None, True, 1.0),
        ("b.png", "dog", "b.png: dog", False, 1.0),
        ("c.png", "cat", None, True, 2.5),
    }
    assert rows(verdicts().rows(QUESTIONS, {})) == expected
    tuned = {"cat": 0.25, "dog": 0.75}  # the dog on a is no longer said, the cat is
    expected = {(*row[:3], row[1] == "cat", row[4]) for row in expected if row[:2] != ("a.png", "dog")}
    assert rows(verdicts().rows(QUESTIONS, tuned)) == expected
    assert verdicts().thresholds(tuned) == tuned


def test_of_one_class_an_image_no_threshold_counts() -> None:
    chosen = np.array([[1, 0], [0, 0], [0, 1]], dtype=bool)  # on b it is a class that nobody annotates
    found = verdicts(chosen=chosen)
    assert found.tuned() == found.thresholds({"cat": 0.9}) == {}
    assert rows(found.rows(QUESTIONS, {})) == {
        ("a.png", "cat", "a.png: cat", True, 1.0),
        ("b.png", "dog", "b.png: dog", False, 1.0),
        ("c.png", "dog", None, True, 2.5),
    }


def test_thresholds_are_tuned_by_labels_with_or_without_a_place() -> None:
    """Cats, of 0.3 and 0.9, and none, of 0.6: best at 0.9. A dog of 0.2, and none of 0.7 and 1/3: as good at 0.2."""
    tuned = verdicts().tuned()
    assert tuned == {"cat": float(np.float32(0.9)), "dog": float(np.float32(0.2))}
    assert verdicts(labelled=np.ones((3, 2), dtype=bool)).tuned() == {"cat": 0.5, "dog": 0.5}


def test_verdicts_come_back_from_json_to_the_last_bit() -> None:
    generator = np.random.default_rng(0)
    first = verdicts(probabilities=generator.random((3, 2), dtype=np.float32), chosen=np.eye(3, 2, dtype=bool))
    again = Verdicts.of(json.loads(json.dumps(first.plain())))
    assert (again.images, again.classes) == (first.images, first.classes)
    for name in ("labelled", "probabilities", "stands_for", "chosen"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert Verdicts.of(json.loads(json.dumps(verdicts().plain()))).chosen is None
