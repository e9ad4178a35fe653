"""Made-up tables of the steps measure and consistency, to see the report of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.analysis.measure_table import MEASURES
from benchmarks.consistency.check_tables import CHECKS


def write_further_tables(folder: Path, methods: Sequence[str]) -> None:
    """Write ``measures.csv``, ``froc.csv`` and ``consistency.csv`` about some methods.

    ``grad_cam`` has 0.5 everywhere, from 0.4 to 0.6; each method after the first is worse than the one before.
    """
    values = {method: 0.9 - 0.8 * i / len(methods) for i, method in enumerate(methods)}
    values["grad_cam"] = 0.5
    pd.DataFrame(
        [
            (method, measure, value, value - 0.1, value + 0.1, 5, MEASURES[measure].better)
            for measure in MEASURES
            for method, value in values.items()
        ],
        columns=["method", "measure", "value", "ci_low", "ci_high", "films", "better"],
    ).to_csv(folder / "measures.csv", index=False)
    rates = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
    pd.DataFrame(
        [(method, rate, value * (1 - 0.5 * np.exp(-rate))) for method, value in values.items() for rate in rates],
        columns=["method", "false_positives_per_image", "sensitivity"],
    ).to_csv(folder / "froc.csv", index=False)
    variants = {
        "smoothing": {"smoothed": -0.05},
        "randomised": {"head only": 0.8, "cascade 02 layer4": 0.5, "cascade 03 layer3": 0.3, "all weights": 0.1},
        "seed": {"resnet18 seed 0": 0.9, "resnet18 seed 1": 0.85},
        "architecture": {"resnet34 - resnet18": 0.1},
    }
    assert set(variants) == set(CHECKS)
    pd.DataFrame(
        [
            (check, variant, method, measure, round(value * factor, 4), value * factor - 0.1, value * factor + 0.1, 5)
            for check, factors in variants.items()
            for measure in ("accuracy_difference", "moved_px", *(["rank_correlation"] if check == "randomised" else []))
            for variant, factor in factors.items()
            for method, value in values.items()
        ],
        columns=["check", "variant", "method", "measure", "value", "ci_low", "ci_high", "films"],
    ).to_csv(folder / "consistency.csv", index=False)
