"""Methods that change the film, against literal loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import ShapleyValueSampling
from PIL import Image
from tiny_network import SIZE
from torch import nn

from benchmarks.methods import METHODS, Context
from benchmarks.methods.occlusion import window
from benchmarks.methods.rise import random_masks
from benchmarks.methods.superpixels import superpixels

TARGETS = torch.tensor([1, 0])


def explain(name, network, images, budget, seed=0):
    torch.manual_seed(seed)
    return METHODS[name].prepare(Context(network, images.shape[-1], budget))(images, TARGETS)


def test_masks_are_enlarged_grids_shifted_by_less_than_a_cell():
    torch.manual_seed(1)
    (mask,) = random_masks(1, (64, 64))
    torch.manual_seed(1)
    grid = (torch.rand(1, 1, 7, 7) < 0.5).float()[0, 0].numpy()
    down, right = torch.randint(10, (2,)).tolist()
    large = np.asarray(Image.fromarray(grid).resize((80, 80), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(mask[0, 0].numpy(), large[down : down + 64, right : right + 64], atol=1e-5)


def test_rise_is_the_mean_of_masks_weighted_by_the_probability(network, images):
    actual = explain("rise", network, images, 25, seed=4)
    torch.manual_seed(4)
    masks = [mask[0, 0] for mask in random_masks(25, (SIZE, SIZE))]
    for i in range(2):
        expected = torch.zeros(SIZE, SIZE)
        for mask in masks:
            with torch.no_grad():
                probability = network((images[i] * mask)[None]).softmax(dim=1)[0, TARGETS[i]]
            expected += probability * mask / (25 * 0.5)
        torch.testing.assert_close(actual[i, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [32, 63, 64, 224, 600])
@pytest.mark.parametrize("budget", [20, 40, 300, 1000])
def test_the_window_covers_the_film_within_the_budget(size, budget):
    side, stride = window(size, budget)
    positions = -(-(size - side) // stride) + 1
    assert positions**2 + 1 <= budget
    assert stride <= side <= size


def test_occlusion_averages_the_losses_of_the_windows_over_a_pixel(network, images):
    side, stride = window(SIZE, 26)
    starts = [i * stride for i in range(-(-(SIZE - side) // stride) + 1)]  # the last one may stand out
    actual = explain("occlusion", network, images, 26) / 3  # the sum over three channels
    for i in range(2):
        total, count = torch.zeros(SIZE, SIZE), torch.zeros(SIZE, SIZE)
        for top in starts:
            for left in starts:
                film = images[i : i + 1].clone()
                film[..., top : top + side, left : left + side] = 0
                with torch.no_grad():
                    loss = (network(images[i : i + 1]) - network(film))[0, TARGETS[i]]
                total[top : top + side, left : left + side] += loss
                count[top : top + side, left : left + side] += 1
        torch.testing.assert_close(actual[i, 0], total / count, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("most", [2, 6, 30])
def test_superpixels_are_few_connected_numbers_that_follow_edges(most):
    film = torch.zeros(1, 3, 48, 48)
    film[..., 10:26, 8:30] = 2.0
    film += 0.01 * torch.randn(film.shape, generator=torch.Generator().manual_seed(0))
    labels = superpixels(film, most)
    assert labels.shape == (1, 1, 48, 48)
    numbers = labels.unique().tolist()
    assert numbers == list(range(len(numbers)))
    assert 1 <= len(numbers) <= most
    if most == 30:
        bright = film[0, 0] > 1
        for number in numbers:
            share = bright[labels[0, 0] == number].float().mean()
            assert share < 0.05 or share > 0.95


def test_noise_and_nothing_are_cut_in_a_plain_grid():
    noise = torch.randn(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    grid = superpixels(noise, 6)[0, 0]
    assert grid.unique().tolist() == list(range(6))
    assert grid[::20, ::20].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert grid[19::20, 19::20].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert len(superpixels(torch.zeros(1, 3, 40, 60), 6).unique()) == 6


class Additive(nn.Module):
    """A score that adds up over pixels, of which all fair methods know the truth."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x):
        score = (self.weights * x).flatten(1).sum(dim=1)
        return torch.stack([-score, score], dim=1)


@pytest.mark.parametrize("name", ["feature_ablation", "shapley_value_sampling", "kernel_shap"])
def test_contributions_of_superpixels_to_an_additive_score(name):
    generator = torch.Generator().manual_seed(0)
    weights, images = (torch.randn(n, 3, 32, 32, generator=generator) for n in (1, 2))
    maps = explain(name, Additive(weights), images, 80)
    for i in range(2):
        labels = superpixels(images[i : i + 1], 79 if name == "feature_ablation" else 20)[0, 0]
        contributions = ((weights * images[i])[0].sum(dim=0)) * (1 if TARGETS[i] else -1)
        for number in labels.unique():
            inside = labels == number
            expected = contributions[inside].sum()
            values = maps[i, 0][inside]
            torch.testing.assert_close(values, expected.expand_as(values), rtol=1e-2, atol=0.05)


def test_shapley_values_of_superpixels_are_captums_over_pixels_that_share_a_feature(network, images):
    actual = explain("shapley_value_sampling", network, images, 40)
    torch.manual_seed(0)
    for i, (image, target) in enumerate(zip(images.split(1), TARGETS, strict=True)):
        labels = superpixels(image, 10)
        expected = ShapleyValueSampling(network).attribute(
            image, target=target, feature_mask=labels, n_samples=39 // (int(labels.max()) + 1), perturbations_per_eval=2
        )
        assert torch.equal(actual[i : i + 1], expected.mean(dim=1, keepdim=True))


def test_lime_finds_the_patch_that_makes_the_score():
    weights = torch.zeros(1, 3, 32, 32)
    weights[..., 8:16, 16:24] = 1.0
    images = torch.full((2, 3, 32, 32), 0.1)
    images[..., 8:16, 16:24] = 1.0
    maps = explain("lime", Additive(weights), images, 80)
    y, x = divmod(int(maps[0].flatten().argmax()), 32)
    assert 8 <= y < 16
    assert 16 <= x < 24
    y, x = divmod(int(maps[1].flatten().argmin()), 32)  # the other class
    assert 8 <= y < 16
    assert 16 <= x < 24
