from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.metrics.peaks import find_peaks, find_points


def bumps(*places: tuple[int, int, float, float], size: int = 100) -> np.ndarray:
    """The largest of several Gaussians (x, y, height, sigma)."""
    rows, columns = np.indices((size, size))
    maps = [h * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * s**2)) for x, y, h, s in places]
    return np.maximum.reduce(maps)


def test_peaks_come_highest_first_with_boxes_at_half_height() -> None:
    peaks = find_peaks(bumps((20, 30, 0.6, 4), (70, 60, 1.0, 4)))

    assert [(peak.x, peak.y) for peak in peaks] == [(70, 60), (20, 30)]
    assert peaks[0].score == 1.0
    assert peaks[1].score == pytest.approx(0.6)
    # A Gaussian falls to half its height at 1.177 sigma: 4.7 pixels.
    assert peaks[0].box == (66, 56, 75, 65)
    assert peaks[1].box == (16, 26, 25, 35)


def test_low_and_near_peaks_and_slopes_are_left_out() -> None:
    saliency = bumps((50, 50, 1.0, 6), (56, 50, 0.95, 2), (20, 20, 0.2, 4))

    assert [(peak.x, peak.y) for peak in find_peaks(saliency)] == [(50, 50)]
    assert len(find_peaks(saliency, least=0.1)) == 2


def test_touching_peaks_share_the_area_between_them() -> None:
    first, second = find_peaks(bumps((40, 50, 1.0, 10), (61, 50, 0.99, 10)))

    assert first.box[2] == 51  # the middle is 50.5
    assert second.box[0] == 51


def test_a_plateau_is_one_peak_and_the_number_is_limited() -> None:
    plateau = np.zeros((60, 60))
    plateau[20:24, 20:24] = 1
    many = bumps(*((x, y, 1 - 0.001 * (x + y), 2) for x in (15, 45, 75) for y in (15, 45, 75)))

    assert [peak.box for peak in find_peaks(plateau)] == [(20, 20, 24, 24)]
    assert len(find_peaks(many)) == 5
    assert len(find_peaks(many, most=20)) == 9


def test_no_peaks_without_a_map() -> None:
    assert find_peaks(np.full((9, 9), 3.0)) == []
    assert find_peaks(np.full((9, 9), np.nan)) == []
    assert find_peaks(np.zeros((9, 9))) == []


def test_points_are_the_peaks_without_their_areas() -> None:
    saliency = ndimage.gaussian_filter(np.random.default_rng(0).random((80, 80)), 4)
    for most, least in ((3, 0.2), (20, 0.01)):
        peaks = find_peaks(saliency, most=most, least=least)
        assert find_points(saliency, most=most, least=least) == [(peak.x, peak.y, peak.score) for peak in peaks]
    assert find_points(np.full((8, 8), 2.0), most=3, least=0) == []
