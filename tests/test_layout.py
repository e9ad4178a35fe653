"""What the graph tells of a tensor: which dimension holds channels, and where its places lie."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from layouts import IMAGE, LAYOUTS, Unknown, attention, kept, layout_of, linear, patches, tokens, with_class_token
from torch import Tensor, nn


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", LAYOUTS)
def test_channels_and_grid(name: str, batch: int) -> None:
    compute, channel_dim, grid = LAYOUTS[name]
    x = torch.randn(batch, *IMAGE[1:], requires_grad=True)
    t = compute(x)
    layout = layout_of(t)
    assert layout.channel_dim() == channel_dim
    assert layout.grid(2) == grid
    proved = layout.order(None, tuple(t.shape), "")[:2]
    assert proved == [0, channel_dim]


@pytest.mark.parametrize("name", [name for name, (_, _, grid) in LAYOUTS.items() if grid and 1 not in grid])
def test_places_lie_where_the_input_moves_them(name: str) -> None:
    # The truth: where in the input the gradient of a place's values is largest.
    compute, channel_dim, grid = LAYOUTS[name]
    assert grid is not None
    x = torch.randn(IMAGE, requires_grad=True)
    t = compute(x)
    values = t.movedim(channel_dim, 1).flatten(2)
    numbers = torch.arange(values.shape[2]).view(1, 1, *t.movedim(channel_dim, 1).shape[2:])
    on_grid = layout_of(t).laid_out(numbers, None, 2)[0, 0]
    for row, column in [(0, 1), (grid[0] - 1, grid[1] - 2), (1, grid[1] - 1)]:
        (g,) = torch.autograd.grad(values[0, :, on_grid[row, column]].square().sum(), x, retain_graph=True)
        energy = F.adaptive_avg_pool2d(g[:1].square().sum(1, keepdim=True), grid)[0, 0]
        finer = ("resizing", "transposed convolution", "pixel shuffle", "class token taken off and put on")
        reach = 1 if name in finer else 0
        peak = divmod(int(energy.argmax()), grid[1])
        if "attention" in name or "windows" in name or name in ("class token", "gate", "instance norm", "group norm"):
            assert energy[row, column] > 0
        else:
            assert max(abs(peak[0] - row), abs(peak[1] - column)) <= reach


@pytest.mark.parametrize(("dims", "sides"), [(1, (7,)), (3, (2, 3, 4))])
def test_tokens_of_one_and_three_dimensions(dims: int, sides: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *(4 * s + 1 for s in sides), requires_grad=True)  # a pixel more than the patches fill
    t = linear(with_class_token(tokens(x)))
    assert layout_of(t).channel_dim() == 2
    assert layout_of(t).grid(dims) == sides


def test_sequences_have_their_channels_last_and_words_too() -> None:
    series = torch.randn(2, 20, 5, requires_grad=True)
    assert layout_of(linear(series)).channel_dim() == 2
    assert layout_of(linear(series)).input_channel_dim((2, 20, 5)) == 2
    words = nn.Embedding(9, 6)(torch.randint(9, (2, 7)))
    layout = layout_of(F.layer_norm(words, (6,)))
    assert layout.channel_dim() == 2
    assert layout.grid(1) == (7,)


def test_a_batch_that_is_not_first() -> None:
    x = torch.randn(IMAGE, requires_grad=True)
    t = attention(tokens(x).transpose(0, 1).transpose(0, 1)).transpose(0, 1)  # (T, N, C)
    assert layout_of(t).order(None, tuple(t.shape), "") == [1, 2, 0]


def test_videos_whose_frames_are_a_batch() -> None:
    x = torch.randn(2, 4, 3, 8, 12, requires_grad=True)  # (N, T, C, H, W)
    m = patches(x.flatten(0, 1)).unflatten(0, (2, 4))
    layout = layout_of(m)
    assert layout.channel_dim() == 2
    assert layout.grid(3) == (4, 2, 3)
    assert layout.input_channel_dim(tuple(x.shape)) == 2


@pytest.mark.parametrize(
    ("consume", "channel_dim"),
    [
        (lambda t: F.conv2d(t, torch.randn(4, t.shape[1], 1, 1)), 1),
        (lambda t: F.batch_norm(t.relu(), None, None, training=True), 1),
        (lambda t: linear(t.relu() + 1), 3),
        (lambda t: linear(t.permute(0, 2, 3, 1)), 1),
        (lambda t: t.relu(), None),
    ],
)
def test_what_consumes_a_tensor_tells_as_well(consume: Callable[[Tensor], Tensor], channel_dim: int | None) -> None:
    x = torch.randn(2, 6, 6, 6, requires_grad=True)
    t = Unknown.apply(x)
    score = consume(t).sum()
    assert layout_of(t).channel_dim() is None
    assert layout_of(t, score).channel_dim() == channel_dim


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: linear(kept(tokens(x))),
        lambda x: linear(tokens(x)[:, torch.randperm(15)]),
        lambda x: linear(tokens(x)[:, :9]),
        lambda x: linear(tokens(x).unflatten(1, (5, 3)).mean(2)),  # neighbours merged, across the ends of rows
        lambda x: linear(torch.softmax(torch.randn(7, 15), 1) @ tokens(x)),
        lambda x: linear(torch.cat([tokens(x)[:, :7], torch.randn(2, 1, 8), tokens(x)[:, 7:]], 1)),
        lambda x: linear(torch.cat([tokens(x), tokens(x.flip(3))], 1)),
        lambda x: linear(tokens(x.flip(3))),
        lambda x: patches(x).roll(1, 3),
    ],
)
def test_places_that_cannot_be_known_are_not_laid_out(compute: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(IMAGE, requires_grad=True)
    layout = layout_of(compute(x))
    assert layout.grid(2) is None


def test_nothing_that_autograd_saved_is_read() -> None:
    def unpack(_: object) -> Tensor:
        raise AssertionError("a saved tensor was read")

    x = torch.randn(IMAGE, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        found = [layout_of(compute(x)).channel_dim() for compute, _, _ in LAYOUTS.values()]
    assert found == [channel_dim for _, channel_dim, _ in LAYOUTS.values()]
