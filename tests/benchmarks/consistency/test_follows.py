from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.consistency.check_tables import COLUMNS
from benchmarks.consistency.follows import follows, follows_section
from benchmarks.consistency.variants import ALL, CHANCE, HEAD, TRAINED


def method(
    name: str, trained: tuple[float, ...], anew: tuple[float, ...], fell: tuple[float, ...], correlation: float
) -> list[tuple]:
    return [
        ("randomised", TRAINED, name, "accuracy", *trained, 32),
        ("randomised", HEAD, name, "rank_correlation", 0.9, 0.8, 1.0, 32),
        ("randomised", ALL, name, "accuracy", *anew, 32),
        ("randomised", ALL, name, "accuracy_difference", *fell, 32),
        ("randomised", ALL, name, "rank_correlation", correlation, correlation - 0.1, correlation + 0.1, 32),
    ]


ROWS = [
    *method("forgets", (0.8, 0.7, 0.9), (0.1, 0.05, 0.2), (-0.7, -0.8, -0.6), 0.02),
    *method("stays", (0.9, 0.8, 1.0), (0.85, 0.7, 0.9), (-0.05, -0.1, 0.0), 0.7),
    *method("half", (0.85, 0.8, 0.9), (0.4, 0.3, 0.5), (-0.45, -0.6, -0.3), np.nan),
    *method("poor", (0.1, 0.02, 0.2), (0.1, 0.02, 0.2), (0.0, -0.1, 0.1), 0.3),
    ("smoothing", TRAINED, "smoothed only", "accuracy", 0.5, 0.4, 0.6, 32),
    ("randomised", TRAINED, CHANCE, "accuracy", 0.07, np.nan, np.nan, 32),
]


def test_verdicts_by_their_rules() -> None:
    table = follows(pd.DataFrame(ROWS, columns=list(COLUMNS)))
    assert dict(zip(table["method"], table["follows"], strict=True)) == {
        "stays": "picture",
        "half": "both",
        "forgets": "weights",
        "poor": "neither",
    }
    assert list(table["method"]) == ["stays", "half", "forgets", "poor"]  # the best first
    assert table["correlation_head"].tolist() == [0.9] * 4


def test_a_method_that_fails_under_another_head_has_no_correlation_there() -> None:
    rows = [row for row in ROWS if row[1:4] != (HEAD, "half", "rank_correlation")]
    table = follows(pd.DataFrame(rows, columns=list(COLUMNS))).set_index("method")
    assert table["follows"]["half"] == "both"
    assert table["correlation_head"].isna().to_dict() == {"stays": False, "half": True, "forgets": False, "poor": False}


def test_section_says_what_its_words_mean() -> None:
    lines = follows_section(pd.DataFrame(ROWS, columns=list(COLUMNS)))
    assert "a random point scores 7.0." in lines[0]
    assert "| half | both | 85.0 [80.0, 90.0] | 40.0 [30.0, 50.0] | 0.90 | undefined |" in lines
    assert sum(line.startswith("- **") for line in lines) == 4
    assert follows_section(pd.DataFrame(ROWS[-2:], columns=list(COLUMNS))) == []
    assert follows_section(pd.DataFrame(ROWS[:-1], columns=list(COLUMNS))) == []  # without chance nothing is above it
