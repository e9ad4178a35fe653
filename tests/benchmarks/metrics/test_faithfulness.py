from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import nn

from benchmarks.metrics.explained_film import ExplainedFilm
from benchmarks.metrics.faithfulness import blur, deletion, insertion, insertion_and_deletion, rank_pixels

SIZE = 8


def literal(probability, image, other, saliency, steps):
    """Change one pixel after the other, and ask the network about one film at a time."""
    order = sorted(range(SIZE * SIZE), key=lambda i: -float(saliency.flatten()[i]))
    areas = []
    for start, end in ((other, image), (image, other)):
        values, film, done = [], start.clone(), 0
        for step in range(steps + 1):
            for pixel in order[done : round(step * SIZE * SIZE / steps)]:
                y, x = divmod(pixel, SIZE)
                film[:, y, x] = end[:, y, x]
            done = round(step * SIZE * SIZE / steps)
            values.append(float(probability(film[None])[0]))
        areas.append(sum((a + b) / 2 for a, b in pairwise(values)) / steps)
    return areas


@pytest.fixture
def films():
    generator = torch.Generator().manual_seed(3)
    image, other = torch.rand(2, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    return image, other, torch.rand(1, SIZE, SIZE, generator=generator)


def areas(probability, image, other, ranks, steps):
    ends = float(probability(image[None])[0]), float(probability(other[None])[0])
    return insertion_and_deletion(probability, image, other, ends, ranks, steps)


@pytest.mark.parametrize("steps", [2, 4, 16])
def test_a_literal_loop_gives_the_same(films, steps):
    image, other, saliency = films
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).double()

    def probability(images):
        with torch.no_grad():
            return network(images).softmax(1)[:, 1]

    expected = literal(probability, image, other, saliency, steps)
    actual = areas(probability, image, other, rank_pixels(saliency, (SIZE, SIZE), (0,)), steps)
    assert actual == pytest.approx(expected, abs=1e-12)


def test_of_a_linear_network_the_areas_are_known(films):
    # With the output sum(w * film) of a film that differs from the other by w, each pixel adds its own |w|^2, and
    # the curve of the best order is the cumulative sum of the sorted squares.
    image, other, _ = films
    weights = image - other
    gains = weights.square().sum(0)

    def output(images):
        return (images * weights).sum((1, 2, 3))

    steps = 16
    start = float(output(other[None])[0])
    ordered = gains.flatten().sort(descending=True).values
    curve = start + np.append(0, ordered.cumsum(0).numpy())[:: SIZE * SIZE // steps]
    best = trapezoid(curve, dx=1 / steps)
    insertion, deletion = areas(output, image, other, rank_pixels(gains[None], (SIZE, SIZE), (0,)), steps)
    assert insertion == pytest.approx(best)
    assert deletion == pytest.approx(start + curve[-1] - best)  # what one curve gains the other loses
    worst_insertion, worst_deletion = areas(output, image, other, rank_pixels(-gains[None], (SIZE, SIZE), (0,)), steps)
    assert worst_insertion < insertion
    assert worst_deletion > deletion
    # Equal pixels: both are the straight line.
    weights[:] = 0.25
    even = areas(output, other + weights, other, rank_pixels(gains[None], (SIZE, SIZE), (0,)), steps)
    ends = float(output(other[None])[0]), float(output((other + weights)[None])[0])
    assert even == pytest.approx([sum(ends) / 2] * 2)


def test_ranks_follow_the_map_and_lots():
    saliency = torch.tensor([[[3.0, 1.0], [1.0, 2.0]]])
    ranks = [rank_pixels(saliency, (2, 2), (seed,)) for seed in range(20)]
    assert all((r[0, 0], r[1, 1]) == (0, 1) for r in ranks)
    assert {(int(r[0, 1]), int(r[1, 0])) for r in ranks} == {(2, 3), (3, 2)}
    assert torch.equal(ranks[0], rank_pixels(saliency, (2, 2), (0,)))


def test_ranks_of_a_small_map_are_those_of_the_stretched_one():
    saliency = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(saliency[None].double(), size=(SIZE, SIZE), mode="bilinear")[0, 0]
    ranks = rank_pixels(saliency, (SIZE, SIZE), (0,))
    by_rank = large.flatten()[ranks.flatten().argsort()]
    assert (by_rank.diff() <= 1e-12).all()
    assert ranks.flatten().sort().values.tolist() == list(range(SIZE * SIZE))


def test_ranks_do_not_depend_on_the_scale_and_a_constant_map_is_all_lots():
    saliency = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    small, large = (rank_pixels(saliency * scale, (SIZE, SIZE), (0,)) for scale in (1e-20, 1e20))
    assert torch.equal(small, large)
    first, second = (rank_pixels(torch.full((1, 4, 4), 2.0), (SIZE, SIZE), (seed,)) for seed in (0, 1))
    assert not torch.equal(first, second)


def test_maps_that_change_the_same_pixels_at_each_step_ask_the_network_once(films):
    image, other, saliency = films
    asked = []

    def classify(images):
        asked.append(len(images))
        return torch.stack([images.mean((1, 2, 3)), images.square().mean((1, 2, 3))], dim=1)

    ends = [classify(film[None])[0] for film in (image, other)]
    answers = {}

    def measured(of_film, saliency, answers, explained=0):
        film = ExplainedFilm({explained: saliency}, image, other, *ends, classify, (0,), explained, answers)
        return of_film(film)

    asked.clear()
    maps = (saliency, saliency.sqrt(), saliency.exp(), -saliency, saliency.flip(1))
    for measure in (insertion, deletion):
        for one in maps:
            for explained in (0, 1):
                assert measured(measure, one, answers, explained) == measured(measure, one, {}, explained)
    assert len(answers) == 6  # three orders, two classes
    assert asked == [30] * (6 + 20)


def test_blur_takes_detail_and_leaves_the_rest():
    checks = (torch.arange(40).view(1, -1) + torch.arange(40).view(-1, 1)) % 2
    film = (checks.float() + 5).expand(1, 3, 40, 40)
    assert blur(film).sub(5.5).abs().max() < 0.01
    even = torch.full((1, 3, 40, 40), 7.0)
    torch.testing.assert_close(blur(even), even)
