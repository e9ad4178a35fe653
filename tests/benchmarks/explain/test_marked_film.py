from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from PIL import Image

from benchmarks.explain.marked_film import MARK, _font, _lines, _marked, draw
from benchmarks.explain.verdict import Explanation
from benchmarks.films.grey import Film
from normgrad_attr.functional import Peak


def explanation(shape: tuple[int, int], peaks: tuple[Peak, ...]) -> Explanation:
    saliency = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    return Explanation(Film(np.full(shape, 100, np.uint8), shape[::-1]), 0.9, saliency, peaks)


@pytest.mark.parametrize("shape", [(300, 200), (4000, 3000), (50, 2000), (2000, 50)])
def test_boxes_lie_on_the_film_in_its_aspect(shape: tuple[int, int]) -> None:
    height, width = shape
    box = (width // 4, height // 2, width // 2, height * 3 // 4)

    picture = draw(explanation(shape, (Peak(width // 3, height * 5 // 8, 1.0, box),)), "a.png", "some")

    marks = np.argwhere((np.asarray(picture) == MARK).all(axis=-1))
    assert len(marks)
    assert picture.width <= 2100
    high, wide = np.ptp(marks, axis=0) + 1
    scale = min(620 / height, 990 / width)
    assert wide == pytest.approx(max((box[2] - box[0]) * scale, 12), abs=8)
    assert high == pytest.approx((box[3] - box[1]) * scale + 18, abs=20)


def test_without_places_there_are_no_marks() -> None:
    assert not (np.asarray(draw(explanation((60, 60), ()), "a.png", "some")) == MARK).all(axis=-1).any()


def test_long_names_are_whole() -> None:
    font = _font(13)
    name = "n" * 245 + ".png"
    lines = _lines(f"{name} and more", font, 280)
    assert "".join(lines).replace(" and more", "") == name
    assert all(font.getlength(line) <= 280 for line in lines)
    assert draw(explanation((60, 60), ()), name, "some").height > draw(explanation((60, 60), ()), "a", "some").height


def test_the_map_hides_the_film_the_more_the_higher_it_is() -> None:
    found = explanation((60, 60), (Peak(30, 30, 1.0, (30, 30, 31, 31)),))
    marked = np.asarray(_marked(Image.new("RGB", (64, 64), (100, 100, 100)), found, 1.0, _font(13))).astype(float)
    inferno = np.array(matplotlib.colormaps["inferno"](1.0)[:3])
    assert marked[0, 0] == pytest.approx(100)
    assert marked[-1, -1] == pytest.approx(0.4 * 100 + 0.6 * 255 * inferno, abs=1)
