from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from benchmarks.metrics.own_pixels import point_on_image


@pytest.mark.parametrize("seed", range(5))
def test_against_a_distance_transform_of_the_image(seed):
    """Height and width of image and map differ all."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((37, 61), dtype=bool)
    top, left = generator.integers(0, 30), generator.integers(0, 50)
    mask[top : top + 5, left : left + 9] = True
    unit = torch.from_numpy(generator.random((37, 61)))  # at the image's size, so that nothing is stretched
    row, column = divmod(int(unit.argmax()), 61)
    x, y, distance = point_on_image(unit, mask)
    assert (x, y) == (column, row)
    assert distance == pytest.approx(distance_transform_edt(~mask)[row, column])


def test_a_map_is_stretched_onto_an_image_that_is_not_square():
    unit = torch.zeros(2, 3).double()
    unit[1, 2] = 1
    x, y, distance = point_on_image(unit, np.zeros((10, 30), dtype=bool), protocol="paper")
    assert (x, y) == (25, 7)  # the first pixels not before the middle of the last cell, 24.5 and 7
    assert distance == np.inf


def test_ties_draw_lots_and_a_constant_map_is_one_tie():
    mask = np.zeros((4, 6), dtype=bool)
    points = {point_on_image(torch.zeros(2, 2).double(), mask, seed=seed, constant=True)[:2] for seed in range(300)}
    assert points == {(x, y) for x in range(6) for y in range(4)}
    two = torch.zeros(4, 6).double()
    two[0, 1] = two[3, 4] = 1
    assert {point_on_image(two, mask, seed=seed)[:2] for seed in range(20)} == {(1, 0), (4, 3)}
    assert {point_on_image(two, mask, seed=seed, protocol="paper")[:2] for seed in range(20)} == {(1, 0)}
