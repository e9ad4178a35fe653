from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.classifier.module import lr_factor
from benchmarks.run.presets import make_config


def test_rate_of_the_paper_warms_up_and_drops_at_epoch_five(tmp_path: Path) -> None:
    config = make_config("object-cxr", {"data": tmp_path})
    factors = [lr_factor(step, 10, config) for step in range(200)]

    assert factors[0] == pytest.approx(0.001)
    assert factors[5] == pytest.approx(0.001 + 0.999 * 0.5)
    assert set(factors[10:50]) == {1.0}
    assert set(factors[50:]) == {0.1}


def test_cosine_rate_ends_near_zero() -> None:
    config = make_config("synthetic", {"epochs": 4})
    factors = [lr_factor(step, 10, config) for step in range(40)]

    assert max(factors) == pytest.approx(1.0, abs=0.01)
    assert factors[-1] < 0.01
