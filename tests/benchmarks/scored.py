"""What tests of scoring share: some methods, and how rows are read and compared."""

from __future__ import annotations

import pandas as pd

from benchmarks.methods import METHODS, Method

SOME = ("center", "random", "input_x_gradient", "normgrad_conv1x1_combined")


def read(config):
    return pd.read_parquet(config.out / "scores.parquet")


def without_seconds(frame):
    return frame.drop(columns="seconds")


def assert_same_scores(actual, expected):
    pd.testing.assert_frame_equal(without_seconds(actual), without_seconds(expected), check_exact=True)


def add_method(monkeypatch, name, build, **options):
    method = Method(name, name, build, "baseline", cost="none", **options)
    monkeypatch.setitem(METHODS, name, method)
    return method
