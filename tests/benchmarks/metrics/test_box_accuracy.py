from __future__ import annotations

import numpy as np
import pytest

from benchmarks.metrics.box_accuracy import box_ious


def test_the_box_around_the_largest_part_at_each_threshold():
    plane = np.zeros((10, 10))
    plane[1:5, 1:5] = 0.4  # 16 pixels, and 6 more that touch at a corner
    plane[5:7, 5:8] = 0.4
    plane[8, 0:3] = 0.9  # three by themselves
    boxes = [(1.0, 1.0, 5.0, 5.0), (0.0, 8.0, 3.0, 10.0)]
    # At 0.2 the box is that of the 22, columns 1 to 8 and rows 1 to 7: 42 pixels, 16 of them in the first box.
    # At 0.5 it is the three, of the six of the second box.
    np.testing.assert_allclose(box_ious(plane, boxes, [0.2, 0.5, 0.95]), [16 / 42, 3 / 6, 0])


def test_without_a_box_nothing_matches():
    assert box_ious(np.ones((3, 3)), [], [0.5]) == pytest.approx([0])
