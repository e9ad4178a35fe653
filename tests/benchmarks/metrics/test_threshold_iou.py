from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from benchmarks.metrics.threshold_iou import THRESHOLDS, otsu_threshold, threshold_ious


def test_against_the_definition():
    plane = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[3:9, 4:15] = True
    expected = []
    for threshold in THRESHOLDS:
        above = plane > threshold
        expected.append(float((above & mask).sum() / (above | mask).sum()))
    np.testing.assert_allclose(threshold_ious(plane, mask), expected)


@pytest.mark.parametrize("seed", range(4))
def test_otsu_parts_the_values_as_scikit_image_does(seed):
    generator = np.random.default_rng(seed)
    plane = np.clip(np.concatenate([generator.normal(0.25, 0.08, 700), generator.normal(0.75, 0.1, 300)]), 0, 1)
    plane[:2] = 0, 1
    upper = plane > otsu_threshold(torch.from_numpy(plane))
    assert abs(int(upper.sum()) - int((plane > threshold_otsu(plane)).sum())) <= 3  # thresholds lie in one bin of 256


def test_a_constant_map_has_everything_or_nothing_above():
    assert otsu_threshold(torch.zeros(4, 4)) == 0
