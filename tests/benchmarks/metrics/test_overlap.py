from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.metrics import overlap
from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import stretch


def square(*rows: list[float]) -> torch.Tensor:
    """A map, or the mask of one, as large as its frame."""
    return torch.tensor(rows, dtype=torch.float64)


def energy(saliency: torch.Tensor, mask: torch.Tensor) -> float:
    stretched = stretch(saliency[None, None], frame=mask.shape[0])
    return float(overlap.energy_share(stretched, Annotations(mask.bool()[None])))


def iou(saliency: torch.Tensor, mask: torch.Tensor) -> float:
    stretched = stretch(saliency[None, None], frame=mask.shape[0])
    return float(overlap.area_matched_iou(stretched, Annotations(mask.bool()[None])))


RIGHT = square([0, 1], [0, 1])


def test_energy_by_hand():
    assert energy(square([0.2, 0.5], [0.0, 1.0]), RIGHT) == pytest.approx(1.5 / 1.7)
    assert energy(square([1.0, 0.0], [0.5, 0.0]), RIGHT) == 0.0


def test_negative_values_have_no_energy():
    assert energy(square([-1, 3], [1, -5]), RIGHT) == pytest.approx(3 / 4)


@pytest.mark.parametrize("most", [0, -1])
def test_a_map_without_positive_values_counts_from_its_minimum(most):
    # 1, 4, 2 and 0 above its minimum.
    assert energy(square([-3, 0], [-2, -4]) + most, RIGHT) == pytest.approx(4 / 7)


def test_a_constant_map_gets_the_area():
    assert energy(square([3, 3], [3, 3]), RIGHT) == 0.5
    assert energy(torch.zeros(10, 10), torch.arange(100).view(10, 10) < 7) == pytest.approx(0.07)


@pytest.mark.parametrize("offset", [-3.0, -0.4, 0.0, 2.0])
@pytest.mark.parametrize("shape", [(20, 20), (7, 5), (1, 3), (33, 40)])
def test_energy_is_that_of_all_pixels_of_the_frame(offset, shape):
    saliency = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + offset
    plane = torch.nn.functional.interpolate(saliency, size=(20, 20), mode="bilinear", align_corners=False)[0, 0].numpy()
    mask = np.zeros((20, 20), dtype=bool)
    mask[3:9, 5:17] = True
    heights = plane - plane.min() if offset < -1 else np.clip(plane, 0, None)
    expected = heights[mask].sum() / heights.sum()
    assert energy(saliency[0, 0], torch.from_numpy(mask)) == pytest.approx(expected, abs=1e-12)


def test_energy_does_not_depend_on_the_scale():
    saliency = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.zeros(60, 60)
    mask[10:30, 20:50] = 1
    shares = [energy(saliency * scale, mask) for scale in (1.0, 1e-12, 1e12)]
    assert shares == pytest.approx([shares[0]] * 3)


def test_iou_by_hand():
    mask = square([1, 1, 1], [0, 0, 0], [0, 0, 0])
    plane = square([0.9, 0.1, 0.8], [1.0, 0.2, 0.0], [0.3, 0.3, 0.7])  # the three highest: 1.0, 0.9, 0.8
    assert iou(plane, mask) == pytest.approx(2 / 4)
    assert iou(mask, mask) == 1.0
    assert iou(1 - mask, mask) == 0.0


def test_iou_of_ties_is_the_expected_overlap_of_a_draw():
    mask = square([1, 1, 1], [0, 0, 0], [0, 0, 0])
    plane = square([1.0, 0.5, 0.5], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0])
    # One place is certain and in the annotation; two of four tied pixels are drawn, and two of those four are in it.
    common = 1 + 2 * 2 / 4
    assert iou(plane, mask) == pytest.approx(common / (6 - common))
    assert iou(torch.zeros(3, 3), mask) == pytest.approx(1 / (6 - 1))  # three of nine places, a third of them in it


def test_iou_depends_on_the_order_of_the_values_alone():
    plane = np.random.default_rng(0).random((30, 30))
    mask = np.zeros((30, 30), dtype=bool)
    mask[:10, :20] = True
    highest = np.zeros(900, dtype=bool)
    highest[np.argsort(plane, axis=None)[-200:]] = True
    highest = highest.reshape(30, 30)
    expected = (highest & mask).sum() / (highest | mask).sum()
    for values in (plane, plane**4, np.sqrt(plane)):
        assert iou(torch.from_numpy(values), torch.from_numpy(mask)) == pytest.approx(expected)


def test_rounding_makes_no_ties_of_its_own():
    mask = square([1, 0], [0, 0])
    plane = square([1.0, 1.0 + 1e-15], [1.0 - 1e-15, 0.0])
    assert iou(plane, mask) == pytest.approx((1 / 3) / (2 - 1 / 3))


def test_an_empty_annotation_has_no_overlap():
    assert iou(torch.rand(3, 3), torch.zeros(3, 3)) == 0.0
    assert iou(torch.zeros(3, 3), torch.zeros(3, 3)) == 0.0


def test_maps_that_are_not_finite_have_neither():
    saliency = square([1, float("nan")], [0, 0])
    assert np.isnan(energy(saliency, RIGHT))
    assert np.isnan(iou(saliency, RIGHT))
