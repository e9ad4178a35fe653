from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.data.annotations import Shape, format_annotation, parse_annotation, rasterize

numbers = st.floats(-5000, 5000, allow_nan=False) | st.integers(-5000, 5000).map(float)
points = st.tuples(numbers, numbers)
shapes = st.one_of(
    st.builds(Shape, st.sampled_from(["rectangle", "ellipse"]), st.tuples(points, points)),
    st.builds(Shape, st.just("polygon"), st.lists(points, min_size=3, max_size=9).map(tuple)),
)


@given(st.lists(shapes, max_size=5))
def test_formatting_and_parsing_is_the_identity(written: list[Shape]) -> None:
    assert parse_annotation(format_annotation(written)) == tuple(written)


def test_the_three_kinds_and_odd_spacing() -> None:
    parsed = parse_annotation(" 0 10 20 30 40 ;1 5.5 -6 1e1 8;2 0 0 4 0 4 3;")
    assert parsed == (
        Shape("rectangle", ((10, 20), (30, 40))),
        Shape("ellipse", ((5.5, -6), (10, 8))),
        Shape("polygon", ((0, 0), (4, 0), (4, 3))),
    )
    assert parsed[2].box == (0, 0, 4, 3)


@pytest.mark.parametrize("text", ["", "  ", ";", " ; "])
def test_an_empty_cell_holds_no_object(text: str) -> None:
    assert parse_annotation(text) == ()


def test_box_orders_the_corners() -> None:
    assert parse_annotation("0 30 40 10 20")[0].box == (10, 20, 30, 40)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("3 1 2 3 4", "type '3'"),
        ("0.0 1 2 3 4", "type '0.0'"),
        ("0 1 2 x 4", "not a number"),
        ("0 1 2 nan 4", "not finite"),
        ("0 1 2 inf 4", "not finite"),
        ("2 1 2 3 4 5", "odd number"),
        ("0 1 2", "exactly 2 points"),
        ("1 1 2 3 4 5 6", "exactly 2 points"),
        ("2 1 2 3 4", "at least 3 points"),
        ("0 1 2 3 4;7", "type '7'"),
    ],
)
def test_malformed_text_is_named(text: str, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        parse_annotation(text)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'circle' is not one of"):
        Shape("circle", ((0, 0), (1, 1)))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1), "not a full rectangle"
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


@pytest.mark.parametrize(
    ("text", "width", "height", "frame", "expected"),
    [
        ("0 100 200 300 400", 600, 600, 600, (100, 200, 299, 399)),
        # 1200 x 300 onto 600 x 600: x halves, y doubles.
        ("0 100 50 300 60", 1200, 300, 600, (50, 100, 149, 119)),
        # Fractions widen to whole pixels: 10.5/2 = 5.25 -> 5, 13/2 = 6.5 -> 7 (exclusive).
        ("0 10.5 0 13 2", 20, 20, 10, (5, 0, 6, 0)),
        # Over all four edges.
        ("0 -7 -3 99 99", 20, 10, 10, (0, 0, 9, 9)),
        # No extent: one pixel.
        ("0 4 4 4 4", 10, 10, 10, (4, 4, 4, 4)),
        # Wholly off the film: the nearest pixel of the edge.
        ("0 50 3 60 3.5", 10, 10, 10, (9, 3, 9, 3)),
        ("0 -50 3 -60 3.5", 10, 10, 10, (0, 3, 0, 3)),
        # An ellipse and a polygon count with their boxes.
        ("1 2 2 6 8", 10, 10, 10, (2, 2, 5, 7)),
        ("2 2 2 6 2 2 8", 10, 10, 10, (2, 2, 5, 7)),
    ],
)
def test_boxes_by_hand(text: str, width: int, height: int, frame: int, expected: tuple[int, ...]) -> None:
    assert box_of(rasterize(parse_annotation(text), width, height, frame)) == expected


def test_ellipse_by_hand() -> None:
    mask = rasterize(parse_annotation("1 0 0 4 4"), 4, 4, 4, truth="shape")
    # Centres at distance sqrt(.5), sqrt(2.5) < 2 < sqrt(4.5): only the corners fall out.
    expected = ["0110", "1111", "1111", "0110"]
    assert mask.astype(int).tolist() == [[int(bit) for bit in row] for row in expected]


def test_ellipse_keeps_its_centre_when_clipped() -> None:
    mask = rasterize(parse_annotation("1 -4 0 4 8"), 8, 8, 8, truth="shape")
    whole = rasterize(parse_annotation("1 0 0 8 8"), 8, 8, 8, truth="shape")
    assert (mask[:, :4] == whole[:, 4:]).all()
    assert not mask[:, 4:].any()


def test_triangle_by_hand_on_a_film_that_is_not_square() -> None:
    # 8 x 4 film on a 4 x 4 frame: x halves. The triangle becomes (0,0) (4,0) (0,4).
    mask = rasterize(parse_annotation("2 0 0 8 0 0 4"), 8, 4, 4, truth="shape")
    expected = ["1110", "1100", "1000", "0000"]
    assert mask.astype(int).tolist() == [[int(bit) for bit in row] for row in expected]


def test_a_hole_of_a_self_crossing_polygon_follows_the_even_odd_rule() -> None:
    bow_tie = rasterize(parse_annotation("2 0 0 10 10 10 0 0 10"), 10, 10, 10, truth="shape")
    assert bow_tie[5, 0]
    assert bow_tie[5, 9]
    assert not bow_tie[0, 5]
    assert not bow_tie[9, 5]


@given(st.lists(shapes, min_size=1, max_size=4), st.integers(1, 4000), st.integers(1, 4000))
def test_every_shape_marks_something_inside_its_box(found: list[Shape], width: int, height: int) -> None:
    box = rasterize(found, width, height, 30)
    outline = rasterize(found, width, height, 30, truth="shape")
    assert outline.any()
    assert not (outline & ~box).any()


def test_rectangles_do_not_depend_on_the_truth() -> None:
    found = parse_annotation("0 3 4 50 60")
    assert (rasterize(found, 90, 80, 64) == rasterize(found, 90, 80, 64, truth="shape")).all()


def test_no_shapes_no_pixels() -> None:
    mask = rasterize((), 10, 10)
    assert mask.shape == (600, 600)
    assert mask.dtype == bool
    assert not mask.any()


def test_an_unknown_truth_is_refused() -> None:
    with pytest.raises(ValueError, match='"box" or "shape"'):
        rasterize((), 10, 10, truth="mask")


def is_inside(points: list[tuple[float, float]], x: float, y: float) -> bool:
    """The even-odd rule by its definition: edges that a ray to the right crosses."""
    crossings = 0
    for (xa, ya), (xb, yb) in zip(points, [*points[1:], points[0]], strict=True):
        crossings += (ya > y) != (yb > y) and x < xa + (y - ya) * (xb - xa) / (yb - ya)
    return crossings % 2 == 1


@pytest.mark.parametrize("whole", [True, False])
def test_outlines_hold_the_pixels_whose_centre_is_inside(whole: bool) -> None:
    """On whole numbers, edges run through corners of pixels and along their sides."""
    generator = np.random.default_rng(int(whole))
    for _ in range(20):
        points = generator.uniform(-5, 35, (generator.integers(3, 12), 2))
        corners = [tuple(point) for point in (np.round(points) if whole else points).tolist()]
        mask = rasterize([Shape("polygon", tuple(corners))], 30, 30, frame=30, truth="shape")
        expected = np.array([[is_inside(corners, x + 0.5, y + 0.5) for x in range(30)] for y in range(30)])
        if expected.any():  # else one pixel stands for the object
            np.testing.assert_array_equal(mask, expected)


def test_an_outline_of_many_corners_is_its_circle() -> None:
    """Its crossings are counted in several parts."""
    angle = np.linspace(0, 40 * np.pi, 80001)[:-1]  # twenty and a half rounds cross themselves away
    radius = np.linspace(0.999, 1, len(angle)) * 900
    points = tuple(zip((1000 + radius * np.cos(angle)).tolist(), (1000 + radius * np.sin(angle)).tolist(), strict=True))
    mask = rasterize([Shape("polygon", points[: len(points) // 20])], 2000, 2000, truth="shape")
    assert mask.mean() == pytest.approx(np.pi * 0.45**2, rel=0.01)
    assert not rasterize([Shape("polygon", points)], 2000, 2000, truth="shape")[300, 300]
