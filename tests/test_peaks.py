from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from normgrad_attr.functional import find_peaks, find_points


def bumps(*places: tuple[int, int, float, float], size: int = 100) -> Tensor:
    """The largest of several Gaussians (x, y, height, sigma), (1, 1, size, size)."""
    rows, columns = np.indices((size, size))
    maps = [h * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * s**2)) for x, y, h, s in places]
    return torch.from_numpy(np.maximum.reduce(maps))[None, None]


def test_peaks_come_highest_first_with_boxes_at_half_height() -> None:
    (peaks,) = find_peaks(bumps((20, 30, 0.6, 4), (70, 60, 1.0, 4)))
    assert [(peak.x, peak.y) for peak in peaks] == [(70, 60), (20, 30)]
    assert [peak.score for peak in peaks] == [1.0, pytest.approx(0.6)]
    # A Gaussian falls to half its height at 1.177 sigma: 4.7 pixels.
    assert [peak.box for peak in peaks] == [(66, 56, 75, 65), (16, 26, 25, 35)]


def test_low_and_near_peaks_and_slopes_are_left_out() -> None:
    maps = bumps((50, 50, 1.0, 6), (56, 50, 0.95, 2), (20, 20, 0.2, 4))
    assert find_points(maps) == [[(50, 50, 1.0)]]
    assert len(find_points(maps, least=0.1)[0]) == 2
    assert len(find_points(maps, least=0.1, distance=2)[0]) == 3


def test_touching_peaks_share_the_area_between_them() -> None:
    ((first, second),) = find_peaks(bumps((40, 50, 1.0, 10), (61, 50, 0.99, 10)))
    assert first.box[2] == second.box[0] == 51  # the middle is 50.5


def test_a_plateau_is_one_peak_and_the_number_is_limited() -> None:
    plateau = torch.zeros(1, 1, 60, 60)
    plateau[..., 20:24, 20:24] = 1
    many = bumps(*((x, y, 1 - 0.001 * (x + y), 2) for x in (15, 45, 75) for y in (15, 45, 75)))
    assert [peak.box for peak in find_peaks(plateau)[0]] == [(20, 20, 24, 24)]
    assert [len(find_points(many, most=most)[0]) for most in (5, 20)] == [5, 9]


def test_maps_without_a_peak_do_not_spoil_their_neighbours() -> None:
    maps = torch.stack([torch.full((9, 9), v) for v in (3.0, torch.nan, 0.0, 0.0)])[:, None]
    maps[3, 0, 4, 5] = 1
    assert [[peak.box for peak in peaks] for peaks in find_peaks(maps)] == [[], [], [], [(5, 4, 6, 5)]]


def test_an_area_winds_but_does_not_pass_over_corners() -> None:
    drawing = [
        "#####.",
        "#...#.",
        "###.#.",
        "....#.",
        ".X###.",
        ".....#",
    ]
    mask = torch.tensor([[[[0.0 if c == "." else 0.7 for c in row] for row in drawing]]])
    mask[0, 0, 4, 1] = 1.0
    assert find_peaks(mask, distance=6)[0][0].box == (0, 0, 5, 5)


@pytest.mark.parametrize("sigma", [0.5, 1, 3])
def test_areas_are_those_of_a_literal_labelling(sigma: float) -> None:
    unit = ndimage.gaussian_filter(np.random.default_rng(7).random((47, 60)), sigma)
    unit = (unit - unit.min()) / np.ptp(unit)
    (peaks,) = find_peaks(torch.from_numpy(unit)[None, None], most=20, least=0.1, distance=3)
    assert len(peaks) > 2
    rows, columns = np.indices(unit.shape)
    nearest = np.argmin([(columns - p.x) ** 2 + (rows - p.y) ** 2 for p in peaks], axis=0)
    for i, peak in enumerate(peaks):
        assert unit[peak.y, peak.x] == peak.score == ndimage.maximum_filter(unit, 7, mode="constant")[peak.y, peak.x]
        labels, _ = ndimage.label((unit >= peak.score / 2) & (nearest == i))
        (y, x) = ndimage.find_objects(labels)[labels[peak.y, peak.x] - 1]
        assert peak.box == (x.start, y.start, x.stop, y.stop)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 8), {}, "shape"),
        ((2, 3, 8, 8), {}, "shape"),
        ((1, 1, 8, 8), {"most": 0}, "most"),
        ((1, 1, 8, 8), {"least": 1.5}, "least"),
        ((1, 1, 8, 8), {"distance": -1}, "distance"),
    ],
)
def test_mistakes_are_named(shape: tuple[int, ...], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_peaks(torch.rand(shape), **options)  # type: ignore[arg-type]
