from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.classifier.worth import most_auc, refuse_weak
from benchmarks.run.errors import UserError


def test_the_interval_is_that_of_guesses() -> None:
    """95 % of the AUCs of random scores lie below the upper end around 0.5."""
    rng = np.random.default_rng(0)
    positives, negatives = 12, 20
    scores = rng.random((20_000, positives + negatives))
    ranks = scores.argsort(axis=1).argsort(axis=1) + 1
    aucs = (ranks[:, :positives].sum(axis=1) - positives * (positives + 1) / 2) / (positives * negatives)
    assert np.mean(aucs < most_auc(0.5, positives, negatives)) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(
    ("auc", "films", "weak"),
    [(0.48, 200, True), (0.30, 200, True), (0.60, 200, False), (0.97, 200, False), (0.48, 16, False), (0.2, 16, True)],
)
def test_only_enough_films_condemn_a_classifier(tmp_path: Path, auc: float, films: int, weak: bool) -> None:
    test = {"auc": 0.5, "accuracy": 0.5, "split": "test"}
    facts = {**test, "dev_auc": auc, "dev_n": films, "dev_positives": films // 2}
    (tmp_path / "classifier.json").write_text(json.dumps(facts))
    if weak:
        with pytest.raises(UserError, match=f"AUC on {films} dev films is {auc:.2f}.*--weights synthetic"):
            refuse_weak(tmp_path)
    else:
        refuse_weak(tmp_path)
