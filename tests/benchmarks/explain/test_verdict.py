from __future__ import annotations

import numpy as np
import pytest

from benchmarks.explain.verdict import Explanation
from benchmarks.films.grey import Film
from normgrad_attr.functional import Peak


@pytest.mark.parametrize(
    ("probability", "start"),
    [
        (0.97, "Foreign object: the model gives it 97 % and points at one place."),
        (0.6, "Unsure, leaning to foreign object: the model gives a foreign object 60 %, and from 25 to 75 %"),
        (0.4, "Unsure, leaning to clean: the model gives a foreign object 40 %, and from 25 to 75 %"),
        (0.1, "Clean: the model gives a foreign object 10 %."),
    ],
)
def test_sentence(probability: float, start: str) -> None:
    peaks = (Peak(1, 1, 1.0, (0, 0, 2, 2)),) if probability > 0.25 else ()
    result = Explanation(Film(np.zeros((4, 4), np.uint8), (4, 4)), probability, np.zeros((4, 4), np.float32), peaks)

    assert result.sentence.startswith(start)
    assert result.sentence.count(".") == 1  # one sentence
    assert result.unsure == ("yourself" in result.sentence)
