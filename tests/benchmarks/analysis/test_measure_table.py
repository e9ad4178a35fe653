from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis.measure_table import (
    FROC_COLUMNS,
    TABLE_COLUMNS,
    froc_tables,
    in_order,
    mean_table,
    overlap_values,
)
from benchmarks.analysis.weighing import Weighing
from benchmarks.metrics.froc import RATES


def values(measure: str, **methods: list[float]) -> pd.DataFrame:
    rows = [(f"{i:03d}.png", name, measure, v) for name, column in methods.items() for i, v in enumerate(column)]
    return pd.DataFrame(rows, columns=["image", "method", "measure", "value"])


def test_means_have_the_intervals_of_the_bootstrap() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 40))
    table = mean_table([values("deletion", a=a.tolist(), b=b.tolist())], seed=3).set_index("method")

    assert tuple(table.reset_index().columns[:1]) + tuple(table.columns) == TABLE_COLUMNS
    drawn = Weighing(np.arange(40)).resampled(np.stack([a, b], axis=1), seed=3)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert table["value"].tolist() == pytest.approx([a.mean(), b.mean()])
    assert table["ci_low"].tolist() == pytest.approx(low.tolist())
    assert table["ci_high"].tolist() == pytest.approx(high.tolist())
    assert table["films"].tolist() == [40, 40]
    assert table["better"].tolist() == ["lower", "lower"]


def test_missing_values_are_left_out_and_counted() -> None:
    some = [0.5, np.nan, 1.0, 0.0, np.nan, 0.5]
    table = mean_table([values("class_sensitivity", some=some, none=[np.nan] * 6)], seed=0).set_index("method")

    assert table.loc["some", ["value", "films"]].tolist() == [0.5, 4]
    assert 0 <= table.loc["some", "ci_low"] < 0.5 < table.loc["some", "ci_high"] <= 1
    assert table.loc["none", "films"] == 0
    assert table.loc["none", ["value", "ci_low", "ci_high"]].isna().all()


def test_the_same_value_everywhere_has_no_spread_also_when_some_are_missing() -> None:
    table = mean_table([values("insertion", a=[0.25, np.nan, 0.25, 0.25, np.nan])], seed=0)
    assert table.loc[0, ["value", "ci_low", "ci_high"]].tolist() == pytest.approx([0.25] * 3)


def test_rows_come_in_the_order_of_the_measures_and_of_one_as_they_were() -> None:
    table = pd.DataFrame({"measure": ["froc", "iou", "energy", "froc"], "method": ["d", "b", "a", "c"]}, index=[3] * 4)
    expected = pd.DataFrame({"measure": ["energy", "iou", "froc", "froc"], "method": ["a", "b", "d", "c"]})
    pd.testing.assert_frame_equal(in_order(table), expected)


def test_energy_and_iou_are_of_the_protocol_fair() -> None:
    scores = pd.DataFrame(
        [
            (image, method, protocol, energy, 2 * energy)
            for image in ("0.png", "1.png")
            for method in ("a", "b")
            for protocol, energy in (("fair", 0.1), ("paper", 0.3))
            if (image, method) != ("1.png", "b")
        ],
        columns=["image", "method", "protocol", "energy", "iou"],
    )  # fmt: skip
    table = overlap_values(scores, films=2)
    assert set(table["method"]) == {"a"}  # b was not scored on all films
    assert table.groupby("measure")["value"].apply(list).to_dict() == {"energy": [0.1] * 2, "iou": [0.2] * 2}


def test_froc_is_the_mean_of_the_curve_and_its_interval_covers_it() -> None:
    generator = np.random.default_rng(1)
    objects = {f"{i}.png": i % 2 for i in range(30)}
    rows = [
        (image, method, generator.random() + (0 if found < 0 else strength), found)
        for image, count in objects.items()
        for method, strength in (("strong", 0.9), ("weak", 0.0))
        for found in ([0] if count else []) + [-1] * 6
    ]
    peaks = pd.DataFrame(rows, columns=["image", "method", "score", "object"])
    table, curve = froc_tables(peaks, objects, ["weak", "strong", "blind"], seed=0)

    assert tuple(table.columns) == TABLE_COLUMNS
    assert tuple(curve.columns) == FROC_COLUMNS
    assert table["method"].tolist() == ["weak", "strong", "blind"]
    assert table["films"].tolist() == [30] * 3
    for row in table.itertuples():
        own = curve[curve["method"] == row.method]
        assert own["false_positives_per_image"].tolist() == list(RATES)
        assert row.value == pytest.approx(own["sensitivity"].mean())
        assert row.ci_low <= row.value <= row.ci_high
    weak, strong, blind = table["value"]
    assert blind == 0 < weak < strong
    # Six false positives a film are all there are, and each annotated film has a peak in its object.
    assert curve[curve["false_positives_per_image"] == 8]["sensitivity"].tolist() == [1, 1, 0]


def test_resamples_of_methods_are_the_same_films() -> None:
    objects = {f"{i}.png": 1 for i in range(12)}
    rows = [(f"{i}.png", m, 0.9 if i < 6 else 0.1, 0 if i % 3 else -1) for i in range(12) for m in ("a", "b")]
    peaks = pd.DataFrame(rows, columns=["image", "method", "score", "object"])
    table, _ = froc_tables(peaks, objects, ["a", "b"], seed=5)
    a, b = table[["value", "ci_low", "ci_high"]].to_numpy().tolist()
    assert a == b
