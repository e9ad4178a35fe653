from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.metrics.frame import stretch
from benchmarks.metrics.overlap import area_matched_iou, energy_share


@pytest.fixture
def mask():
    """The right column of two by two pixels."""
    return np.array([[False, True], [False, True]])


def test_energy_by_hand(mask):
    assert energy_share(np.array([[0.2, 0.5], [0.0, 1.0]]), mask) == pytest.approx(1.5 / 1.7)
    assert energy_share(np.array([[1.0, 0.0], [0.5, 0.0]]), mask) == 0.0


def test_negative_values_have_no_energy(mask):
    # The map [[-1, 3], [1, -5]] on the scale [0, 1], where its zero lies at 5/8.
    plane = (np.array([[-1.0, 3.0], [1.0, -5.0]]) + 5) / 8
    assert energy_share(plane, mask, zero=5 / 8) == pytest.approx(3 / 4)


def test_a_map_without_positive_values_counts_from_its_minimum(mask):
    # [[-4, -1], [-3, -5]] is 1, 4, 2 and 0 above its minimum.
    plane = np.array([[1.0, 4.0], [2.0, 0.0]]) / 4
    for zero in (5 / 4, 1.0):
        assert energy_share(plane, mask, zero) == pytest.approx(4 / 7)


def test_a_constant_map_gets_the_area(mask):
    assert energy_share(np.zeros((2, 2)), mask) == 0.5
    assert energy_share(np.zeros((10, 10)), np.arange(100).reshape(10, 10) < 7) == pytest.approx(0.07)


@pytest.mark.parametrize("offset", [-3.0, -0.4, 0.0, 2.0])
def test_energy_of_a_stretched_map_is_that_of_the_map_itself(offset):
    maps = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + offset
    plane = maps[0, 0].numpy()
    mask = np.zeros((20, 20), dtype=bool)
    mask[3:9, 5:17] = True
    frames = stretch(maps, frame=20)
    heights = plane - plane.min() if offset < -1 else np.clip(plane, 0, None)
    expected = heights[mask].sum() / heights.sum()
    assert energy_share(frames.planes[0], mask, frames.zero[0]) == pytest.approx(expected)


def test_energy_does_not_depend_on_the_scale():
    maps = torch.randn(1, 1, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = np.zeros((60, 60), dtype=bool)
    mask[10:30, 20:50] = True
    shares = []
    for scale in (1.0, 1e-12, 1e12):
        frames = stretch(maps * scale, frame=60)
        shares.append(energy_share(frames.planes[0], mask, frames.zero[0]))
    assert shares == pytest.approx([shares[0]] * 3)


def test_iou_by_hand():
    mask = np.array([[True, True, True], [False, False, False]])
    plane = np.array([[0.9, 0.1, 0.8], [1.0, 0.2, 0.0]])  # the three highest: 1.0, 0.9, 0.8
    assert area_matched_iou(plane, mask) == pytest.approx(2 / 4)
    assert area_matched_iou(mask.astype(float), mask) == 1.0
    assert area_matched_iou(1 - mask.astype(float), mask) == 0.0


def test_iou_of_ties_is_the_expected_overlap_of_a_draw():
    mask = np.array([[True, True, True, False], [False, False, False, False]])
    plane = np.array([[1.0, 0.5, 0.5, 0.5], [0.5, 0.0, 0.0, 0.0]])
    # One place is certain and in the annotation; two of four tied pixels are drawn, and two of those four are in it.
    common = 1 + 2 * 2 / 4
    assert area_matched_iou(plane, mask) == pytest.approx(common / (6 - common))
    assert area_matched_iou(np.zeros((2, 4)), mask) == pytest.approx((9 / 8) / (6 - 9 / 8))


def test_iou_depends_on_the_order_of_the_values_alone():
    plane = np.random.default_rng(0).random((30, 30))
    mask = np.zeros((30, 30), dtype=bool)
    mask[:10, :20] = True
    highest = np.zeros(900, dtype=bool)
    highest[np.argsort(plane, axis=None)[-200:]] = True
    highest = highest.reshape(30, 30)
    expected = (highest & mask).sum() / (highest | mask).sum()
    for values in (plane, plane**4, np.sqrt(plane)):
        assert area_matched_iou(values, mask) == pytest.approx(expected)


def test_rounding_makes_no_ties_of_its_own():
    mask = np.array([[True, False, False, False]])
    plane = np.array([[1.0, 1.0 + 1e-15, 1.0 - 1e-15, 0.0]])
    assert area_matched_iou(plane, mask) == pytest.approx((1 / 3) / (2 - 1 / 3))


def test_an_empty_annotation_has_no_overlap():
    assert area_matched_iou(np.random.default_rng(0).random((3, 3)), np.zeros((3, 3), dtype=bool)) == 0.0
