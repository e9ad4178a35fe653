from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.data.annotations import rasterize
from benchmarks.shapes.draw_picture import MOST, SIZE, draw_picture
from benchmarks.shapes.outlines import KINDS, outline

PICTURES = [draw_picture(0, number) for number in range(60)]


def test_a_picture_comes_from_its_seed_and_number_alone():
    again = draw_picture(0, 7)
    assert (again.pixels == PICTURES[7].pixels).all()
    assert again.shapes == PICTURES[7].shapes
    assert (draw_picture(1, 7).pixels != again.pixels).any()


def test_all_kinds_and_numbers_of_shapes_are_drawn():
    assert {len(picture.shapes) for picture in PICTURES} == set(range(1, MOST + 1))
    assert set(Counter(shape.content for picture in PICTURES for shape in picture.shapes)) == set(KINDS)
    assert any(len(picture.kinds) < len(picture.shapes) for picture in PICTURES)
    assert [len(draw_picture(0, number, shapes=3).shapes) for number in range(5)] == [3] * 5


def test_shapes_lie_inside_and_apart():
    for picture in PICTURES:
        masks = [rasterize([shape], SIZE, SIZE, SIZE, "shape") for shape in picture.shapes]
        assert sum(masks).max() == 1
        for shape in picture.shapes:
            assert min(shape.box) >= 0
            assert max(shape.box) <= SIZE


@pytest.mark.parametrize("size", [SIZE, SIZE // 2])
def test_the_outline_is_where_the_shape_was_drawn(size):
    """Of two pictures that differ in the texture alone, the pixels differ inside of the outline alone."""
    for number in range(12):
        picture = draw_picture(3, number, shapes=1, size=size)
        (shape,) = picture.shapes
        inside = rasterize([shape], size, size, size, "shape")
        x, y = np.array(shape.points).mean(0)
        around = (np.hypot(*(np.mgrid[:size, :size] + 0.5 - np.array([y, x])[:, None, None])) < 30) & ~inside
        pixels = picture.pixels.astype(float)
        assert np.abs(pixels[inside].mean(0) - pixels[around].mean(0)).max() > 20


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("disc", np.pi * 0.81),
        ("square", 2),
        ("triangle", 3 * 3**0.5 / 4),
        ("star", 10 * 0.5 * 1 * 0.42 * np.sin(np.pi / 5)),
        ("cross", 2 * 2 * 0.6 - 0.36),
        ("ring", np.pi * (1 - 0.58**2)),
    ],
)
def test_areas_by_hand(kind, area):
    x, y = outline(kind, (0, 0), 1, 0.3).T
    assert abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 == pytest.approx(area, rel=0.01)


def test_a_ring_has_a_hole():
    from benchmarks.data.annotations import Shape

    points = outline("ring", (50, 50), 20, 1.0)
    mask = rasterize([Shape("polygon", tuple(map(tuple, points)))], 100, 100, 100, "shape")
    assert not mask[50, 50]
    assert mask[50, 66]
