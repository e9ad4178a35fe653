from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from normgrad_attr import CombinedNormGrad, NormGrad, suggest_layers
from normgrad_attr._layout import Layout, Layouts
from normgrad_attr.functional import combine_maps

IMAGE = (2, 3, 12, 20)  # patches of 4 make 3 rows and 5 columns
GRID = (3, 5)


def patches(x: Tensor, channels: int = 8, size: int = 4) -> Tensor:
    """Patch embedding as a map, (N, C, rows, columns)."""
    conv = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.dim()]
    return conv(x, torch.randn(channels, x.shape[1], *[size] * (x.dim() - 2)), stride=size)


def tokens(x: Tensor) -> Tensor:
    return patches(x).flatten(2).mT


def linear(x: Tensor, out: int = 8) -> Tensor:
    return F.linear(x, torch.randn(out, x.shape[-1]), torch.randn(out))


def attention(t: Tensor) -> Tensor:
    q, k, v = linear(t / 10, 24).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    return linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def attention_by_hand(t: Tensor) -> Tensor:
    q, k, v = linear(t / 10, 24).chunk(3, dim=-1)
    return (q @ k.mT).softmax(-1) @ v


def attention_over_channels(t: Tensor) -> Tensor:
    """XCiT's cross-covariance."""
    q, k, v = linear(t, 24).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 4, 1)
    return ((q @ k.mT).softmax(-1) @ v).permute(0, 3, 1, 2).flatten(2)


def with_class_token(t: Tensor, front: int = 1, behind: int = 0, frozen: bool = False) -> Tensor:
    def prefix(n: int) -> list[Tensor]:
        return [nn.Parameter(torch.randn(1, 1, t.shape[2]), not frozen).expand(len(t), -1, -1) for _ in range(n)]

    return torch.cat([*prefix(front), t, *prefix(behind)], 1)


def windows(x: Tensor, shift: int = 0) -> Tensor:
    """A Swin block's way: shift, cut windows of 2 x 2, work in them, and all the way back."""
    m = patches(x, size=2).permute(0, 2, 3, 1)  # 6 x 10
    n, h, w, c = m.shape
    y = F.layer_norm(m, (c,)).roll((-shift, -shift), (1, 2))
    y = y.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
    y = attention(y).view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
    return y.roll((shift, shift), (1, 2))


def pooled_in_windows(x: Tensor) -> Tensor:
    """Hiera's way: tokens sorted by windows once, so that pooling drops the first factor."""
    m = patches(x, size=2).permute(0, 2, 3, 1)  # 6 x 10
    n, h, w, c = m.shape
    t = m.view(n, h // 2, 2, w // 2, 2, c).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w, c)
    return linear(t.view(n, 4, -1, c).amax(1))


def merged_patches(x: Tensor) -> Tensor:
    m = patches(x, size=2).permute(0, 2, 3, 1)
    parts = [m[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return linear(F.layer_norm(torch.cat(parts, -1), (32,)))


def patches_without_a_convolution(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    cut = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
    return linear(cut.reshape(n, -1, 16 * c))


def through_a_class_token(x: Tensor) -> Tensor:
    """Prefix taken off, a convolution over the patches, prefix on again."""
    t = with_class_token(tokens(x), front=2)
    prefix, t = t[:, :2], t[:, 2:]
    m = t.mT.reshape(len(x), 8, *GRID)
    m = m + F.conv2d(m, torch.randn(8, 1, 3, 3), padding=1, groups=8)
    return linear(torch.cat([prefix, m.flatten(2).mT], 1))


def norm_over_channels_first(x: Tensor) -> Tensor:
    """ConvNeXt's LayerNorm2d."""
    return F.layer_norm(patches(x).permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)


def token_mixing(x: Tensor) -> Tensor:
    return linear(F.layer_norm(tokens(x), (8,)).mT, 24)


LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], int, tuple[int, ...] | None]] = {
    "convolution": (patches, 1, GRID),
    "activation": (lambda x: patches(x).relu(), 1, GRID),
    "batch norm": (lambda x: F.batch_norm(patches(x), torch.zeros(8), torch.ones(8)), 1, GRID),
    "group norm": (lambda x: F.group_norm(patches(x), 2), 1, GRID),
    "instance norm": (lambda x: F.instance_norm(patches(x)), 1, GRID),
    "pooling": (lambda x: F.max_pool2d(patches(x, size=2), 2), 1, GRID),
    "resizing": (lambda x: F.interpolate(patches(x), scale_factor=2), 1, (6, 10)),
    "transposed convolution": (lambda x: F.conv_transpose2d(patches(x), torch.randn(8, 4, 2, 2), stride=2), 1, (6, 10)),
    "padding": (lambda x: F.pad(patches(x), (1, 1, 1, 1), mode="reflect"), 1, (5, 7)),
    "pixel shuffle": (lambda x: F.pixel_shuffle(patches(x), 2), 1, (6, 10)),
    "gate": (lambda x: patches(x) * patches(x).mean((2, 3), keepdim=True).sigmoid(), 1, GRID),
    "a view in place": (lambda x: patches(x).view(len(x), 8, *GRID).mul_(2), 1, GRID),
    "another view in place": (lambda x: linear(patches(x).flatten(2).relu_().mT), 2, GRID),
    "in place": (lambda x: patches(x).mul_(2).relu_(), 1, GRID),
    "layer norm in dimension 1": (norm_over_channels_first, 1, GRID),
    "channels last": (lambda x: linear(patches(x).permute(0, 2, 3, 1)), 3, GRID),
    "tokens": (tokens, 2, GRID),
    "tokens of columns": (lambda x: patches(x).transpose(2, 3).flatten(2).mT, 2, GRID),
    "dropout on tokens": (lambda x: F.dropout(tokens(x)), 2, GRID),
    "token mixing": (token_mixing, 1, None),
    "token mixing by convolution": (lambda x: F.conv1d(tokens(x), torch.randn(24, 15, 1)), 2, None),
    "attention": (lambda x: attention(tokens(x)), 2, GRID),
    "attention by hand": (lambda x: attention_by_hand(tokens(x)), 2, GRID),
    "attention over channels": (lambda x: attention_over_channels(tokens(x)), 2, GRID),
    "class token": (lambda x: attention(with_class_token(tokens(x))), 2, GRID),
    "registers behind": (lambda x: linear(with_class_token(tokens(x), 1, 4)), 2, GRID),
    "frozen class tokens": (lambda x: linear(with_class_token(tokens(x), 2, frozen=True)), 2, GRID),
    "class token dropped": (lambda x: linear(with_class_token(tokens(x), 2)[:, 2:]), 2, GRID),
    "class token taken off and put on": (through_a_class_token, 2, GRID),
    "windows": (windows, 3, (6, 10)),
    "shifted windows": (lambda x: windows(x, 1), 3, (6, 10)),
    "pooled in windows": (pooled_in_windows, 2, GRID),
    "merged patches": (merged_patches, 3, GRID),
    "patches without a convolution": (patches_without_a_convolution, 2, GRID),
    "unfolded": (lambda x: linear(F.unfold(x, 4, stride=4).mT), 2, GRID),
    "sliding windows": (
        lambda x: linear(x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3)),
        3,
        GRID,
    ),
    "one direction": (lambda x: linear(patches(x).mean(2).mT), 2, (1, 5)),
    "channels by a product": (lambda x: torch.einsum("nchw,dc->ndhw", patches(x), torch.randn(6, 8)), 1, GRID),
}


def layout_of(t: Tensor, score: Tensor | None = None) -> Layout:
    return Layouts(None if score is None else score.grad_fn).of(get_gradient_edge(t))


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
        reach = 2 if name == "padding" else 1 if name in finer else 0
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


class PlacesFirst(nn.Module):
    """Tokens as (places, N, C), which is what torch's transformers take by default."""

    def __init__(self, image: bool, class_token: bool) -> None:
        super().__init__()
        self.embed: nn.Module = nn.Conv2d(3, 8, 4, 4) if image else nn.Linear(5, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 8)) if class_token else None
        self.block, self.head = nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        image = x.dim() == 4
        t = self.embed(x).flatten(2).permute(2, 0, 1) if image else self.embed(x.transpose(0, 1))
        if self.token is not None:
            t = torch.cat([self.token.expand(1, t.shape[1], 8), t])
        return self.head(self.block(t)).tanh().mean(0)


@pytest.mark.parametrize("batch", [1, 2, 15])
@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("shape", [IMAGE[1:], (15, 5)], ids=["image", "sequence"])
def test_a_map_of_places_that_come_before_the_batch(shape: tuple[int, ...], class_token: bool, batch: int) -> None:
    model, x = PlacesFirst(len(shape) == 3, class_token).eval(), torch.randn(batch, *shape)
    kept: list[Tensor] = []
    with model.block.register_forward_hook(lambda *args: kept.append(args[2])):
        score = model(x)[:, 1].sum()
    (g,) = torch.autograd.grad(score, kept[0])
    expected = (g.norm(dim=2) * kept[0].detach().norm(dim=2)).T.unsqueeze(1)
    torch.testing.assert_close(NormGrad(model, "block").attribute(x, 1), expected)
    if len(shape) == 3:
        on_grid = expected[:, :, -15:].reshape(batch, 1, *GRID)
        combined = CombinedNormGrad(model, ["block"]).attribute(x, 1, output_size=GRID)
        torch.testing.assert_close(combined, combine_maps([on_grid], GRID))


class Words(nn.Module):
    """Words as (places, N), which nothing tells but what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(9, 8), nn.Embedding(7, 8)
        self.layer, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        t = self.positions(torch.arange(ids.shape[1])[:, None]) + self.words(ids.T)
        return self.head(self.layer(t).tanh().mean(0))


class Unrolled(nn.Module):
    """A recurrent network that stacks its states, or torch's own."""

    def __init__(self, cell: bool) -> None:
        super().__init__()
        self.cell: nn.Module = nn.GRUCell(5, 8) if cell else nn.GRU(5, 8)
        self.layer, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.cell, nn.GRU):
            return self.head(self.layer(self.cell(x.transpose(0, 1))[0]).tanh().mean(0))
        states = [torch.zeros(len(x), 8)]
        for t in x.unbind(1):
            states.append(self.cell(t, states[-1]))
        return self.head(self.layer(torch.stack(states[1:])).tanh().mean(0))


class TimeFirst(nn.Module):
    """Its very input is (places, N, F)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).tanh().mean(0))


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (Words(), torch.arange(14).view(2, 7) % 9),
        (Words(), torch.arange(49).view(7, 7) % 9),  # nor do sizes
        (Unrolled(cell=True), torch.rand(2, 7, 5)),
        (Unrolled(cell=False), torch.rand(2, 7, 5)),
        (TimeFirst(), torch.rand(7, 2, 5)),
    ],
    ids=["words", "as many words as samples", "cells", "GRU", "time first"],
)
def test_the_rows_of_the_output_tell_which_dimension_is_the_batch(model: nn.Module, x: Tensor) -> None:
    kept: list[Tensor] = []
    with model.layer.register_forward_hook(lambda *args: kept.append(args[2])):
        score = model(x)[:, 1].sum()
    (g,) = torch.autograd.grad(score, kept[0])
    expected = (g.norm(dim=2) * kept[0].detach().norm(dim=2)).T.unsqueeze(1)
    torch.testing.assert_close(NormGrad(model, "layer").attribute(x, 1), expected)


@pytest.mark.parametrize(
    "shuffle",
    [
        lambda x: x.flip(0),
        lambda x: x.roll(1, 0),
        lambda x: x.index_select(0, torch.tensor([2, 0, 1])),
        lambda x: x[torch.tensor([2, 0, 1])],
        lambda x: x[[2, 0, 1], :, 1:],
    ],
)
def test_samples_in_another_order_are_refused(shuffle: Callable[[Tensor], Tensor]) -> None:
    conv = nn.Conv2d(3, 4, 3)
    with pytest.raises(ValueError, match=r"Conv2d gets the samples in another order than the model"):
        NormGrad(lambda x: conv(shuffle(x)).tanh().mean((2, 3)), conv).attribute(torch.rand(3, 3, 8, 8), 1)


def test_an_index_behind_the_first_dimension_leaves_the_samples_in_place() -> None:
    conv, x, order = nn.Conv2d(3, 4, 3), torch.rand(3, 3, 8, 8), torch.tensor([2, 0, 1])
    found = NormGrad(lambda x: conv(x[:, order]).tanh().mean((2, 3)), conv).attribute(x, 1)
    expected = NormGrad(nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), conv)
    torch.testing.assert_close(found, expected.attribute(x.index_select(1, order), 1))


def test_videos_whose_frames_are_a_batch() -> None:
    x = torch.randn(2, 4, 3, 8, 12, requires_grad=True)  # (N, T, C, H, W)
    m = patches(x.flatten(0, 1)).unflatten(0, (2, 4))
    layout = layout_of(m)
    assert layout.channel_dim() == 2
    assert layout.grid(3) == (4, 2, 3)
    assert layout.input_channel_dim(tuple(x.shape)) == 2


class Unknown(torch.autograd.Function):
    """Something of which the graph tells nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        return g


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


def kept(t: Tensor) -> Tensor:
    """Token pruning: those with the largest norm."""
    chosen = t.norm(dim=-1).topk(9, dim=1).indices
    return t.gather(1, chosen[..., None].expand(-1, -1, t.shape[2]))


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
        lambda x: patches(x)[..., 2:],
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


class Net(nn.Module):
    """Convolutions, then tokens with a class token, the score looking at one of the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 2, 2)
        self.embed = nn.Conv2d(4, 6, 2, 2)
        self.block = nn.Linear(6, 6)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.mix = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(self.stem(x).relu()).flatten(2).mT
        t = self.block(torch.cat([self.token.expand(len(x), -1, -1), t], 1))
        t = t + self.mix(t.mT).mT
        return t[:, 12, :2].tanh()  # the twelfth patch: row 2, column 1 of 3 x 5


def test_layers_of_all_layouts_are_combined() -> None:
    net, x = Net().eval(), torch.rand(IMAGE)
    for p in net.parameters():
        p.requires_grad_(False)
    maps = NormGrad(net, ["stem", "block", "mix"]).attribute(x, 1)
    assert [m.shape for m in maps] == [(2, 1, 6, 10), (2, 1, 16), (2, 1, 16)]
    combined = CombinedNormGrad(net, ["stem", "block"]).attribute(x, 1, output_size=GRID)
    assert combined.flatten(1).argmax(1).tolist() == [11, 11]
    assert set(suggest_layers(net, x)) >= {"stem"}


@pytest.mark.parametrize(
    ("layer", "channel_dim", "message"),
    [
        ("stem", -1, "channel_dim=-1 is wrong for layer 'stem'.*dimension 1; leave channel_dim out"),
        ("block", 1, "channel_dim=1 is wrong for layer 'block'.*dimension 2"),
        ("mix", -1, "channel_dim=-1 is wrong for layer 'mix'.*dimension 1"),
        ("stem", 4, "does not fit the activation"),
        ("stem", 0, "does not fit the activation"),
    ],
)
def test_a_wrong_channel_dim_is_refused(layer: str, channel_dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NormGrad(Net().eval(), layer, channel_dim=channel_dim).attribute(torch.rand(IMAGE), 1)


def test_what_cannot_be_known_is_refused_with_the_remedy() -> None:
    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(Unknown.apply(x)).square().mean((1, 2))[:, :2]

    x = torch.rand(2, 5, 6, 7)
    with pytest.raises(ValueError, match=r"'layer' .Identity.*does not tell.*pass channel_dim=1 .*channel_dim=-1"):
        NormGrad(Opaque(), "layer").attribute(x, 1)
    found = NormGrad(Opaque(), "layer", channel_dim=-1).attribute(x, 1)
    assert found.shape == (2, 1, 5, 6)


def test_tokens_that_were_chosen_cannot_be_combined() -> None:
    class Pruned(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.block(kept(self.embed(self.stem(x)).flatten(2).mT)).mean(1)

    net, x = Pruned().eval(), torch.rand(IMAGE)
    assert NormGrad(net, "block").attribute(x, 1).shape == (2, 1, 9)
    with pytest.raises(ValueError, match=r"layer 'block'.*shape .2, 1, 9.*its places have been chosen or moved around"):
        CombinedNormGrad(net, ["block"]).attribute(x, 1)


def test_a_map_over_time_has_the_size_of_the_input() -> None:
    net, x = nn.Sequential(nn.Linear(5, 8), nn.Flatten(), nn.Linear(160, 2)).eval(), torch.rand(2, 20, 5)
    found = CombinedNormGrad(net, ["0"]).attribute(x, 0)
    assert found.shape == (2, 1, 20)
    expanded = CombinedNormGrad(net, ["0"]).attribute(x, 0, expand_as_inputs=True)
    torch.testing.assert_close(expanded, found.mT.expand(2, 20, 5).contiguous())


class Windowed(nn.Module):
    """Patches, and the same patches as windows of 2 x 2 that are folded into the batch, as in Swin's attention."""

    def __init__(self, *, windows_first: bool) -> None:
        super().__init__()
        self.embed, self.plain, self.inside, self.head = (
            nn.Conv2d(3, 8, 4, 4),
            nn.Identity(),
            nn.Linear(8, 8),
            nn.Linear(8, 3),
        )
        self.windows_first = windows_first

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(x).permute(0, 2, 3, 1)  # (N, 4, 6, C)
        windows = t.reshape(-1, 2, 2, 3, 2, 8).permute(*((1, 3, 0) if self.windows_first else (0, 1, 3)), 2, 4, 5)
        t = self.inside(windows.reshape(-1, 4, 8)).tanh()
        t = t.reshape(*((2, 3, -1) if self.windows_first else (-1, 2, 3)), 2, 2, 8)
        t = t.permute(*((2, 0, 3, 1, 4, 5) if self.windows_first else (0, 1, 3, 2, 4, 5))).reshape(-1, 4, 6, 8)
        return self.head(self.plain(t).square().mean((1, 2)))


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("windows_first", [False, True])
def test_windows_in_the_batch_are_places_of_their_sample(samples: int, windows_first: bool) -> None:
    net, x = Windowed(windows_first=windows_first).eval(), torch.rand(samples, 3, 16, 24)
    # What a layer's weights get is worked out by hand from the same tensors, where they are not folded.
    t = net.embed(x).permute(0, 2, 3, 1).detach()
    z = net.inside(t).detach().requires_grad_()
    (g,) = torch.autograd.grad(net.head(z.tanh().square().mean((1, 2)))[:, 1].sum(), z)
    literal = z.detach().norm(dim=-1) * g.norm(dim=-1)  # (N, 4, 6)
    windows = literal.reshape(samples, 2, 2, 3, 2).permute(0, 1, 3, 2, 4).reshape(samples, 1, 6, 4)

    torch.testing.assert_close(NormGrad(net, "inside").attribute(x, 1), windows)
    torch.testing.assert_close(NormGrad(net, "inside", extract="layer").attribute(x, 1).shape, windows.shape)
    combined = CombinedNormGrad(net, ["inside"]).attribute(x, 1, output_size=(4, 6))[:, 0]
    low, high = literal.flatten(1).aminmax(dim=1, keepdim=True)
    torch.testing.assert_close(combined.flatten(1), (literal.flatten(1) - low) / (high - low))


def test_frames_in_the_batch_are_places_of_their_video() -> None:
    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2]).square().mean((1, 3, 4)))

    net, x = Frames().eval(), torch.rand(2, 5, 3, 8, 12)
    maps = NormGrad(net, "layer").attribute(x, 1)
    assert maps.shape == (2, 1, 5, 2, 3)
    for sample in range(2):
        for frame in range(5):
            (one,) = NormGrad(net, "layer").attribute(x[sample : sample + 1, frame : frame + 1], 1)
            torch.testing.assert_close(maps[sample, :, frame], one / 5)  # a fifth of the mean is this frame's
    assert CombinedNormGrad(net, ["layer"]).attribute(x, 1).shape == (2, 1, 5, 8, 12)
