"""The zoo's own reference, on networks small enough to work out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.zoo.truth import (
    Recorded,
    channel_dim,
    combined,
    contrast,
    grad_cam,
    norm_map,
    record,
    shapes,
    token_grid,
    token_order,
)


class Weighted(nn.Module):
    """Its score is the sum of its input times 1, 2, 3, ..., so that is the gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.arange(1.0, x[0].numel() + 1).view_as(x[0])
        return torch.stack([(x * weights).flatten(1).sum(1), x.flatten(1).sum(1)], 1)


def test_gradients_are_those_of_the_target_and_in_place_layers_overwrite_nothing() -> None:
    network = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), Weighted()).eval()
    x = torch.tensor([[[[1.0, -2.0], [3.0, 4.0]]], [[[1.0, 2.0], [3.0, -4.0]]]])
    kept = record(network, x, ["0", "1"], torch.tensor([0, 1]))
    assert kept["0"].activation.equal(x)
    assert kept["0"].gradient.tolist() == [[[[1, 0], [3, 4]]], [[[1, 1], [1, 0]]]]
    assert kept["1"].activation.equal(x.relu())
    assert kept["1"].gradient.tolist() == [[[[1, 2], [3, 4]]], [[[1, 1], [1, 1]]]]
    assert not any(m._forward_hooks for m in network.modules())


def test_all_paths_between_two_layers_count() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.score = nn.Identity(), nn.Identity(), Weighted()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.score(x + 3 * self.second(x))

    kept = record(Residual().eval(), torch.ones(1, 1, 2), ["first", "second"], torch.tensor([0]))
    assert kept["first"].gradient.flatten().tolist() == [4, 8]
    assert kept["second"].gradient.flatten().tolist() == [3, 6]


def test_a_layer_that_runs_twice_is_no_layer_for_a_comparison() -> None:
    same = nn.Identity()
    with pytest.raises(RuntimeError, match="more than once"):
        record(nn.Sequential(same, same, Weighted()), torch.ones(1, 1, 2), ["0"], torch.tensor([0]))


def test_channels_are_what_stays_when_the_input_grows() -> None:
    convolution = nn.Conv2d(3, 7, 3)
    here, there = (shapes(nn.Sequential(convolution), torch.rand(2, 3, s, s), ["0"])["0"] for s in (8, 12))
    assert channel_dim(here, there, 2) == 1
    assert channel_dim((2, 17, 32), (2, 37, 32), 2) == 2
    assert channel_dim((2, 4, 4, 32), (2, 6, 6, 32), 2) == 3
    assert channel_dim((2, 32, 1, 1), (2, 32, 1, 1), 2) == 1  # one location has no other place for channels
    assert channel_dim((2, 4, 16, 8), (2, 4, 36, 8), 2) is None  # heads and widths
    assert channel_dim((8, 16, 32), (18, 16, 32), 2) is None  # windows among the samples
    assert channel_dim((2, 16, 32), (2, 36, 64), 2) is None  # nothing stays


def test_maps_are_norms_and_weighted_sums_over_the_channels() -> None:
    x, g = torch.tensor([[[3.0, 1.0], [4.0, 0.0]]]), torch.tensor([[[1.0, 3.0], [0.0, 4.0]]])
    recorded = Recorded(x, g)
    assert norm_map(recorded, 1).tolist() == [[[5, 5]]]
    assert norm_map(recorded, 2)[0, 0].tolist() == pytest.approx([10.0, 16.0])
    assert grad_cam(recorded, 1).tolist() == [[[2 * 3 + 2 * 4, 2 * 1]]]
    assert grad_cam(recorded, 2)[0, 0].tolist() == [0.5 * 3 + 3.5 * 1, 0.5 * 4]


def test_two_sizes_tell_the_grid_of_tokens() -> None:
    assert token_grid(17, 37, (64, 64), (96, 96)) == (4, 4)
    assert token_grid(8 + 2, 27 + 2, (32, 32, 32), (48, 48, 48)) == (2, 2, 2)
    assert token_grid(50, 122, (64, 64), (96, 96)) == (7, 7)  # 16 x 16, a step of 8
    assert token_grid(10, 14, (64, 32), (96, 32)) == (4, 2)
    assert token_grid(17, 18, (64, 64), (96, 96)) is None


class Shuffled(nn.Module):
    """Patches of 4 x 4 pixels as tokens, backwards, behind a token of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.tokens = nn.Conv2d(1, 3, 4, 4), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2).flip(1)
        mean = tokens.mean(1, keepdim=True)
        return self.tokens(torch.cat([mean, tokens + 0.1 * mean], 1))[:, 0]


def test_a_changed_patch_tells_its_token() -> None:
    order = token_order(Shuffled(), torch.randn(2, 1, 8, 12), "tokens", 2, (2, 3), (2, 3))
    assert order is not None
    assert order.tolist() == [6, 5, 4, 3, 2, 1]
    assert token_order(Shuffled(), torch.zeros(2, 1, 8, 12), "tokens", 2, (2, 3), (2, 3)) is None  # nothing changes


def test_patches_that_overlap_are_told_by_their_corners() -> None:
    class Overlapping(Shuffled):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(1, 3, 7, 4, padding=3)

    order = token_order(Overlapping(), torch.randn(2, 1, 16, 16), "tokens", 2, (4, 4), (2, 3))
    assert order is not None
    assert order.tolist() == list(range(16, 0, -1))


def test_contrast_is_that_of_the_flattest_map() -> None:
    maps = [torch.tensor([[[0.0, 2.0]], [[1.0, 2.0]]]), torch.tensor([[[8.0, 10.0]], [[3.0, 3.0]]])]
    assert contrast(maps) == 5


def test_a_combination_is_a_geometric_mean_and_leaves_constant_maps_out() -> None:
    one = torch.tensor([[[[0.0, 1.0], [4.0, 2.0]]]], dtype=torch.float64)
    other = torch.tensor([[[[1.0, 9.0], [9.0, 1.0]]]], dtype=torch.float64)
    assert combined([one, other], (2, 2))[0, 0].tolist() == [[0, 0.5], [1, 0]]
    constant = torch.ones_like(one)
    assert combined([one, constant], (2, 2))[0, 0].tolist() == [[0, 0.5], [1, pytest.approx(0.5**0.5)]]
    assert not combined([constant], (2, 2)).any()
