from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.analysis.share_interval import share_interval, wilson
from benchmarks.analysis.weighing import Weighing


@pytest.mark.parametrize(("hits", "films"), [(0, 32), (32, 32), (1, 200), (150, 200), (0, 1)])
def test_of_films_it_is_wilsons(hits, films):
    column = (np.arange(films) < hits)[:, None]
    share, low, high = share_interval(column, Weighing(np.arange(films)))
    expected = binomtest(hits, films).proportion_ci(method="wilson")
    assert share[0] == pytest.approx(hits / films)
    assert [low[0], high[0]] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_rows_of_an_image_that_agree_count_as_one():
    # Three rows an image, alike in each image: as if there were the images alone.
    images = np.repeat(np.arange(40), 3)
    hits = np.stack([images < 10, images < 0, images >= 0], axis=1)
    share, low, high = share_interval(hits, Weighing(images))
    for column, count in enumerate([10, 0, 40]):
        expected = binomtest(count, 40).proportion_ci(method="wilson")
        assert share[column] == pytest.approx(count / 40)
        assert [low[column], high[column]] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_rows_of_an_image_that_differ_are_never_more_than_the_rows():
    # One of two rows is hit on every image: resamples of images all say one half.
    images = np.repeat(np.arange(20), 2)
    share, low, high = share_interval((np.arange(40) % 2 == 0)[:, None], Weighing(images))
    expected = binomtest(20, 40).proportion_ci(method="wilson")
    assert [share[0], low[0], high[0]] == pytest.approx([0.5, expected.low, expected.high])


def test_classes_that_count_alike_by_hand():
    # Classes of 8 and 2 rows of images of their own, 4 and 1 hit: the variance of the mean is a quarter of the sum of
    # theirs, (1/4) / 8 and (1/4) / 2, which is 5/128, as of 6.4 rows.
    hits = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 0], bool)[:, None]
    weighing = Weighing(np.arange(10), np.repeat([0, 1], [8, 2]))
    assert share_interval(hits, weighing)[0] == pytest.approx(0.5)
    assert np.ravel(share_interval(hits, weighing)[1:]) == pytest.approx(np.ravel(wilson(0.5, 6.4)))
    # Nothing hit, so no variance is shown: the weights are 1/16 and 1/4, whose squares add up to 1 / 6.4 as well.
    assert share_interval(hits & False, weighing)[2] == pytest.approx(wilson(0, 6.4)[1])


def test_it_holds_the_truth_where_resampled_images_do_not():
    # 32 images, 98 of 100 hit: percentiles of resamples hold .98 in fewer than half of the draws.
    generator = np.random.default_rng(0)
    hits = generator.random((32, 2000)) < 0.98
    _, low, high = share_interval(hits, Weighing(np.arange(32)))
    assert ((low <= 0.98) & (high >= 0.98)).mean() > 0.93


def test_a_share_of_none_has_no_interval():
    assert np.isnan(wilson(np.nan, 0)).all()
