from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from benchmarks.metrics.annotated import Annotations
from benchmarks.metrics.frame import clip_at_percentile
from benchmarks.metrics.game_metric import PointingGame
from benchmarks.metrics.pointing_game import chance_level, find_maxima, is_hit


def one_hot(height: int, width: int, row: int, column: int) -> torch.Tensor:
    saliency = torch.zeros(1, 1, height, width)
    saliency[0, 0, row, column] = 1.0
    return saliency


def box(frame: int, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((frame, frame), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def distance(x: int, y: int, mask: np.ndarray) -> float:
    return float(Annotations(torch.from_numpy(mask)[None]).distances(torch.tensor([[x, y]])))


# --- the maximum -----------------------------------------------------------------------------


def test_point_is_column_then_row():
    maxima = find_maxima(one_hot(100, 100, row=20, column=70), frame=100)
    assert maxima.points.tolist() == [[70, 20]]
    assert maxima.finite.all()
    assert not maxima.constant.any()


@pytest.mark.parametrize(
    ("height", "width", "row", "column", "expected"),
    [
        # A cell of 6 x 2 pixels (frame 12, map 2 x 6) has its centre between pixels 2 and 3 (rows: 0 to 5) and
        # 2c and 2c + 1; towards the upper border the map is flat, so the first pixel of the tie is row 0.
        (2, 6, 0, 4, (8, 0)),
        # The lower cell: rows from its centre (8.5) to the border are flat, so the tie starts at row 9.
        (2, 6, 1, 1, (2, 9)),
        (6, 2, 4, 0, (0, 8)),
        (6, 2, 1, 1, (9, 2)),
        # Odd scale: frame 12, map 4 x 4, cell centres 1, 4, 7, 10 fall on pixels.
        (4, 4, 2, 1, (4, 7)),
    ],
)
def test_maps_of_any_shape_are_stretched_onto_the_frame(height, width, row, column, expected):
    maxima = find_maxima(one_hot(height, width, row, column), frame=12, protocol="paper")
    assert tuple(maxima.points[0].tolist()) == expected


def test_stretching_is_bilinear_without_aligned_corners():
    # Map (0, 1, 1, 0) on a frame of 8: samples at -.25 .25 .75 1.25 1.75 2.25 2.75 3.25, so the values
    # are 0 .25 .75 1 1 .75 .25 0 and the maximum is shared by columns 3 and 4.
    saliency = torch.tensor([0.0, 1.0, 1.0, 0.0]).view(1, 1, 1, 4)
    assert find_maxima(saliency, frame=8, protocol="paper").points.tolist() == [[3, 0]]
    chosen = {tuple(find_maxima(saliency, frame=8, seed=seed).points[0].tolist()) for seed in range(200)}
    assert {x for x, _ in chosen} == {3, 4}
    assert {y for _, y in chosen} == set(range(8))


@pytest.mark.parametrize("value", [0.1, 1 / 3, 12345.678, -7.7])
def test_a_plateau_stays_a_tie_whatever_its_value(value):
    saliency = torch.full((1, 1, 7, 7), value - 1.0)
    saliency[..., 4:] = value  # the right three columns; from their first centre on, the frame is flat
    chosen = [find_maxima(saliency, frame=70, seed=seed).points[0].tolist() for seed in range(300)]
    assert min(x for x, _ in chosen) <= 47
    assert max(x for x, _ in chosen) >= 67
    assert all(x >= 45 for x, _ in chosen)


def test_paper_takes_the_first_maximum_in_raster_order_and_fair_any():
    saliency = torch.zeros(1, 1, 10, 10)
    for row, column in ((7, 1), (3, 8), (3, 5)):
        saliency[0, 0, row, column] = 2.0
    assert find_maxima(saliency, frame=10, protocol="paper").points.tolist() == [[5, 3]]
    points = [tuple(find_maxima(saliency, frame=10, seed=seed).points[0].tolist()) for seed in range(300)]
    share = {point: points.count(point) / 300 for point in set(points)}
    assert set(share) == {(1, 7), (8, 3), (5, 3)}
    assert all(0.2 < value < 0.47 for value in share.values())


def test_ties_depend_on_seed_and_image_alone():
    saliency = torch.zeros(4, 1, 5, 5)
    together = find_maxima(saliency, frame=50, image_ids=[9, 4, 7, 1]).points
    for i, image_id in enumerate([9, 4, 7, 1]):
        alone = find_maxima(saliency[i : i + 1], frame=50, image_ids=[image_id]).points
        assert (alone[0] == together[i]).all()
    assert len({tuple(point) for point in together.tolist()}) > 1
    assert (find_maxima(saliency, frame=50, image_ids=[9, 4, 7, 1], seed=1).points != together).any()


def test_constant_maps_are_a_tie_over_the_frame():
    saliency = torch.full((1, 1, 7, 9), 0.1)
    first = find_maxima(saliency, frame=60, protocol="paper")
    assert first.points.tolist() == [[0, 0]]
    assert first.constant.all()
    points = np.array([find_maxima(saliency, frame=60, seed=seed).points[0].tolist() for seed in range(400)])
    # Uniform over 0..59: mean 29.5, standard error 17.3 / 20.
    assert np.abs(points.mean(axis=0) - 29.5).max() < 4
    assert points.min() < 5
    assert points.max() > 54


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_maps_that_are_not_finite_have_no_point(bad):
    saliency = torch.rand(3, 1, 8, 8)
    saliency[1, 0, 2, 3] = bad
    maxima = find_maxima(saliency, frame=16)
    assert maxima.finite.tolist() == [True, False, True]
    assert not maxima.constant[1]
    assert maxima.points[1].tolist() == [-1, -1]
    assert (maxima.points[0] == find_maxima(saliency[:1], frame=16).points[0]).all()


def test_half_precision_and_requires_grad_are_welcome():
    saliency = one_hot(10, 10, 2, 3).to(torch.bfloat16).requires_grad_()
    assert find_maxima(saliency, frame=10).points.tolist() == [[3, 2]]


def test_large_offsets_do_not_hide_the_maximum():
    saliency = torch.full((1, 1, 10, 10), 1e6)
    saliency[0, 0, 6, 4] = 1e6 + 32
    assert find_maxima(saliency, frame=10).points.tolist() == [[4, 6]]


def test_differences_that_only_rounding_makes_are_no_maximum():
    saliency = torch.full((1, 1, 10, 10), 1e6)
    saliency[0, 0, 6, 4] = 1e6 + 0.0625  # the next float32 above
    maxima = find_maxima(saliency, frame=10, protocol="paper")
    assert maxima.constant.all()
    assert maxima.points.tolist() == [[0, 0]]
    assert find_maxima(clip_at_percentile(saliency), frame=10, protocol="paper").constant.all()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="N, 1, h, w"):
        find_maxima(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="protocol must be one of paper, fair"):
        find_maxima(torch.zeros(1, 1, 4, 4), protocol="kind")
    with pytest.raises(ValueError, match="masks must have the shape"):
        PointingGame(frame=10).update(torch.zeros(1, 1, 4, 4), torch.zeros(1, 12, 10, dtype=torch.bool))


# --- post-processing -------------------------------------------------------------------------


def test_clip_is_numpy_percentile_then_min_max():
    saliency = torch.rand(3, 1, 20, 30) * torch.tensor([1.0, 10.0, 0.01]).view(3, 1, 1, 1) - 0.3
    clipped = clip_at_percentile(saliency, 99)
    for one, plane in zip(saliency.double().numpy(), clipped.numpy(), strict=True):
        high, low = np.percentile(one, 99), one.min()
        np.testing.assert_allclose(plane, np.clip((one - low) / (high - low), 0, 1), rtol=1e-12)
    assert ((clipped == 1).flatten(1).sum(1) == 6).all()  # one per cent of 600 pixels


def test_clip_moves_the_paper_point_to_the_first_of_many_ties_and_not_the_fair_one():
    saliency = torch.rand(1, 1, 40, 40)
    saliency[0, 0, 30, 12] = 50.0
    saliency[0, 0, 1, 2:22] = 20.0  # twenty pixels: more than one per cent of 1600
    assert find_maxima(saliency, frame=40).points.tolist() == [[12, 30]]
    assert find_maxima(clip_at_percentile(saliency), frame=40, protocol="paper").points.tolist() == [[2, 1]]


def test_clip_of_a_sparse_map_is_constant_and_of_a_bad_map_stays_bad():
    sparse = one_hot(20, 20, 3, 3)  # 399 of 400 pixels are zero, so the 99th percentile is zero
    assert find_maxima(clip_at_percentile(sparse), frame=20, protocol="paper").constant.all()
    for bad in (math.nan, math.inf, -math.inf):
        sparse[0, 0, 0, 0] = bad
        assert not find_maxima(clip_at_percentile(sparse), frame=20).finite.any()


def test_smoothing_prefers_a_broad_peak_to_a_lone_pixel():
    saliency = one_hot(60, 60, 5, 5)
    saliency[0, 0, 40:46, 30:36] = 0.8
    assert find_maxima(saliency, frame=60).points.tolist() == [[5, 5]]
    x, y = find_maxima(saliency, frame=60, smooth=True).points[0]
    assert 30 <= x < 36
    assert 40 <= y < 46


# --- hits ------------------------------------------------------------------------------------


def test_distance_by_hand():
    mask = box(60, top=20, left=30, bottom=25, right=40)  # rows 20..24, columns 30..39
    assert distance(30, 20, mask) == 0
    assert distance(39, 24, mask) == 0
    assert distance(40, 24, mask) == 1
    assert distance(27, 16, mask) == 5  # 3 and 4 from the corner (30, 20)
    assert distance(35, 39, mask) == 15
    mask[59, 35] = True  # several objects: the nearest counts
    assert distance(35, 58, mask) == 1
    assert distance(0, 0, np.zeros((5, 5), dtype=bool)) == math.inf


@pytest.mark.parametrize(
    ("distance", "tolerance", "hit"),
    [
        (0.0, 0, True),
        (1.0, 0, False),
        (0.0, 15, True),
        (math.sqrt(224), 15, True),
        (15.0, 15, False),  # strictly closer
        (15.0, 25, True),
        (25.0, 25, False),
        (math.nan, 0, False),
        (math.nan, 25, False),
        (math.inf, 25, False),
    ],
)
def test_hit_rule(distance, tolerance, hit):
    assert bool(is_hit(distance, tolerance)) is hit


def test_chance_of_one_box_is_the_share_of_points_that_hit():
    rows, columns = np.mgrid[:600, :600]
    for side in (20, 60, 120):
        down = np.maximum(np.maximum(200 - rows, rows - (199 + side)), 0)
        right = np.maximum(np.maximum(250 - columns, columns - (249 + side)), 0)
        gap = np.hypot(down, right)
        expected = [(gap == 0).mean(), (gap < 15).mean(), (gap < 25).mean()]
        assert list(chance_level(box(600, 200, 250, 200 + side, 250 + side))) == pytest.approx(expected)


def test_chance_is_a_count_of_hits_also_at_the_border():
    mask = box(40, 0, 30, 3, 40) | box(40, 35, 2, 40, 4)
    for tolerance, level in zip((0, 5, 9), chance_level(mask, (0, 5, 9)), strict=True):
        hits = sum(bool(is_hit(distance(x, y, mask), tolerance)) for x in range(40) for y in range(40))
        assert level == pytest.approx(hits / 1600, abs=1e-15)
    assert chance_level(np.zeros((9, 9), dtype=bool)) == [0.0, 0.0, 0.0]
    assert chance_level(np.ones((9, 9), dtype=bool)) == [1.0, 1.0, 1.0]


# --- the metric ------------------------------------------------------------------------------


def stretch_exactly(saliency, frame):
    """Bilinear interpolation with aligned borders in rational numbers."""
    height, width = saliency.shape
    cells = [[Fraction(value) for value in row] for row in saliency.tolist()]

    def sample(i, length):
        at = min(max((i + Fraction(1, 2)) * length / frame - Fraction(1, 2), Fraction(0)), Fraction(length - 1))
        low = min(int(at), length - 2)
        return low, at - low

    rows, columns = [sample(i, height) for i in range(frame)], [sample(i, width) for i in range(frame)]
    return [
        [
            (1 - v) * ((1 - u) * cells[y][x] + u * cells[y][x + 1])
            + v * ((1 - u) * cells[y + 1][x] + u * cells[y + 1][x + 1])
            for x, u in columns
        ]
        for y, v in rows
    ]


def play_literally(maps, masks, ids, tolerances, frame, protocol, seed):
    """The rules once more, one pixel at a time; no code shared with the module."""
    hits, images = [0] * len(tolerances), 0
    for saliency, mask, image_id in zip(maps[:, 0], masks.numpy(), ids, strict=True):
        if not mask.any():
            continue
        images += 1
        if not saliency.isfinite().all():
            continue
        plane = stretch_exactly(saliency, frame)
        most = max(max(row) for row in plane)
        best = [(y, x) for y in range(frame) for x in range(frame) if plane[y][x] == most]
        y, x = best[0]
        if protocol == "fair" and len(best) > 1:
            y, x = best[np.random.default_rng((seed, image_id)).integers(len(best))]
        nearest = min((r - y) ** 2 + (c - x) ** 2 for r, c in zip(*np.nonzero(mask), strict=True))
        for i, tolerance in enumerate(tolerances):
            hits[i] += nearest == 0 if tolerance == 0 else nearest < tolerance**2
    return hits, images


def random_game(n=24, frame=30):
    generator = torch.Generator().manual_seed(3)
    maps = torch.randint(0, 6, (n, 1, 6, 10), generator=generator).float() / 8  # exact fractions: many exact ties
    maps[4, 0, 1, 1] = math.nan
    masks = torch.zeros(n, frame, frame, dtype=torch.bool)
    for i in range(n):
        top, left = torch.randint(0, frame - 9, (2,), generator=generator).tolist()
        masks[i, top : top + 10, left : left + 9] = True
    masks[7] = False
    return maps, masks, list(range(100, 100 + n))


@pytest.mark.parametrize("protocol", ["paper", "fair"])
def test_metric_equals_a_literal_loop(protocol):
    maps, masks, ids = random_game()
    metric = PointingGame((0, 3, 6), frame=30, protocol=protocol, seed=5)
    for part in (slice(0, 10), slice(10, 11), slice(11, 24)):
        metric.update(maps[part], masks[part], ids[part])
    hits, images = play_literally(maps, masks, ids, (0, 3, 6), 30, protocol, 5)
    result = metric.compute()
    assert metric.hits.tolist() == hits
    assert 0 < hits[0] < hits[2] < images
    assert (int(result["images"]), int(result["unannotated"]), int(result["non_finite"])) == (23, 1, 1)
    assert float(result["accuracy_3"]) == pytest.approx(hits[1] / images)
    assert float(result["chance_0"]) == pytest.approx(90 / 900)


def test_metric_forward_returns_the_batch_and_accumulates():
    maps, masks, ids = random_game()
    metric, other = PointingGame((0, 6), frame=30), PointingGame((0, 6), frame=30)
    batch = metric(maps[:12], masks[:12], ids[:12])
    metric(maps[12:], masks[12:], ids[12:])
    other.update(maps, masks, ids)
    assert int(batch["images"]) == 11
    assert {name: float(value) for name, value in metric.compute().items()} == {
        name: float(value) for name, value in other.compute().items()
    }


def test_metric_merges_as_under_ddp():
    maps, masks, ids = random_game()
    whole = PointingGame((0, 3), frame=30)
    whole.update(maps, masks, ids)
    shards = []
    for rank in range(3):
        shard = PointingGame((0, 3), frame=30)
        shard.update(maps[rank::3], masks[rank::3], ids[rank::3])
        shards.append(shard)
    merged = PointingGame((0, 3), frame=30)
    for name, reduction in merged._reductions.items():  # what Metric.sync does with gathered states
        setattr(merged, name, reduction(torch.stack([getattr(shard, name) for shard in shards])))
        assert torch.equal(getattr(merged, name), getattr(whole, name)) or name == "chance"
    assert torch.allclose(merged.chance, whole.chance)


def test_metric_counts_constant_maps_and_plays_them():
    mask = torch.from_numpy(box(20, 0, 0, 4, 4))[None]
    metric = PointingGame((0,), frame=20, protocol="paper")
    metric.update(torch.zeros(1, 1, 3, 3), mask)  # first in raster order: the corner, a hit
    assert int(metric.constant) == 1
    assert float(metric.compute()["accuracy_0"]) == 1.0


def test_metric_without_annotated_images_is_nan():
    metric = PointingGame((0,), frame=20)
    metric.update(torch.rand(2, 1, 3, 3), torch.zeros(2, 20, 20, dtype=torch.bool))
    result = metric.compute()
    assert math.isnan(result["accuracy_0"])
    assert int(result["unannotated"]) == 2


def test_metric_clips_and_smooths_on_request():
    saliency = torch.rand(1, 1, 40, 40)
    saliency[0, 0, 30, 12] = 50.0
    saliency[0, 0, 1, 2:22] = 20.0
    mask = torch.from_numpy(box(40, 0, 0, 3, 10))[None]
    for clip, expected in ((False, 0.0), (True, 1.0)):
        metric = PointingGame((0,), frame=40, protocol="paper", clip=clip)
        metric.update(saliency, mask)
        assert float(metric.compute()["accuracy_0"]) == expected
    lone = one_hot(40, 40, 30, 12)
    lone[0, 0, 0:6, 0:10] = 0.9
    for smooth, expected in ((False, 0.0), (True, 1.0)):
        metric = PointingGame((0,), frame=40, smooth=smooth)
        metric.update(lone, mask)
        assert float(metric.compute()["accuracy_0"]) == expected
