from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.annotations import Shape
from benchmarks.formats.category_mask import category_mask, object_mask
from benchmarks.formats.labelled import LabelledImage, LabelledObject
from benchmarks.formats.run_lengths import RunLengths

TRIANGLE = Shape("polygon", ((0, 0), (4, 0), (0, 4)))
SQUARE = Shape("polygon", ((5, 5), (8, 5), (8, 8), (5, 8)))


def test_an_object_of_two_parts_has_one_box() -> None:
    found = LabelledObject("a", (TRIANGLE, SQUARE))
    assert found.box == (0, 0, 8, 8)
    assert object_mask(found, (8, 8), (8, 8), "box").all()
    shape = object_mask(found, (8, 8), (8, 8), "shape")
    assert shape.sum() == 6 + 9  # centres below the diagonal of 4 x 4, and 3 x 3
    assert shape[5:, 5:].all()
    assert not shape[:5, 5:].any()


def test_categories_are_kept_apart() -> None:
    objects = (LabelledObject("a", (TRIANGLE,)), LabelledObject("b", (SQUARE,)), LabelledObject("a", (SQUARE,)))
    image = LabelledImage("1", Path("1.png"), objects, ("a", "b"), (10, 20), "here")
    assert category_mask(image, "b", (20, 10)).sum() == 9
    assert category_mask(image, "a", (20, 10)).sum() == 16 + 9
    assert category_mask(image, "c", (20, 10)).sum() == 0


def test_run_lengths_and_outline_of_the_same_pixels_agree() -> None:
    """On a frame three times as fine, and on one a third as coarse, where every centre is that of a pixel."""
    pixels = np.zeros((9, 18), dtype=bool)
    pixels[3:6, 6:12] = True
    runs = LabelledObject("a", (RunLengths.of(pixels),))
    outline = LabelledObject("a", (Shape("rectangle", ((6, 3), (12, 6))),))
    for frame in ((27, 54), (9, 18), (3, 6)):
        for truth in ("box", "shape"):
            ours, theirs = (object_mask(found, (18, 9), frame, truth) for found in (runs, outline))
            np.testing.assert_array_equal(ours, theirs)
            assert ours.mean() == pixels.mean()


def test_the_centre_of_a_coarse_pixel_decides() -> None:
    """Of 9 columns, 3 a pixel of the frame, the middle ones are 1, 4 and 7."""
    pixels = np.zeros((9, 9), dtype=bool)
    pixels[:, [0, 4, 5, 8]] = True
    mask = object_mask(LabelledObject("a", (RunLengths.of(pixels),)), (9, 9), (3, 3), "shape")
    np.testing.assert_array_equal(mask, [[False, True, False]] * 3)


def test_no_object_is_lost_on_a_coarse_frame() -> None:
    pixels = np.zeros((90, 90), dtype=bool)
    pixels[77, 31] = True
    mask = object_mask(LabelledObject("a", (RunLengths.of(pixels),)), (90, 90), (3, 3), "shape")
    assert np.argwhere(mask).tolist() == [[2, 1]]


def test_an_unknown_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="'outline'"):
        object_mask(LabelledObject("a", (SQUARE,)), (9, 9), (9, 9), "outline")
