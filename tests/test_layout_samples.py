"""Maps of one sample after the other, wherever a layer has its batch, against norms that are taken by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from layouts import GRID, IMAGE, Does
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr.functional import combine_maps


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


def _filled(x: Tensor, *order: int) -> Tensor:
    """Samples that are written one by one into these rows."""
    result = torch.zeros_like(x)
    for row, sample in zip(order, x, strict=True):
        result[row] = sample
    return result


def _filled_by_twos(x: Tensor, *starts: int) -> Tensor:
    """Samples that are written into rows from these on, two at a time."""
    result = torch.zeros_like(x)
    for i, start in enumerate(starts):
        part = x[2 * i : 2 * i + 2]
        result[start : start + len(part)] = part
    return result


def _copied(x: Tensor, *order: int) -> Tensor:
    """Samples that are copied into rows one by one."""
    result = torch.zeros_like(x)
    for row, sample in zip(order, x, strict=True):
        result[row].copy_(sample)
    return result


def _added(x: Tensor, to: slice | int, of: slice | int) -> Tensor:
    x = x * 1
    x[to] += x[of].relu()
    return x


def _overwritten(x: Tensor) -> Tensor:
    x = x.clone()
    x[:1] = x[2:]
    return x


def _as_windows(x: Tensor) -> Tensor:
    """Halves of each sample's width, folded into the batch."""
    return x.unflatten(3, (2, -1)).movedim(3, 1).flatten(0, 1)


def _rows_written(x: Tensor) -> Tensor:
    result = torch.empty_like(x)
    result[torch.tensor([2, 0, 1])] = x
    return result


@pytest.mark.parametrize(
    ("change", "back", "message"),
    [
        (_rows_written, lambda y: y[torch.tensor([2, 0, 1])], "in another order"),
        (lambda x: torch.cat([x[1:], x[:1]]), lambda y: torch.cat([y[2:], y[:2]]), "in another order"),
        (lambda x: torch.cat(x.split(1)[::-1]), lambda y: y.flip(0), "in another order"),
        (lambda x: torch.cat([x[::2], x[1::2]]), lambda y: y[torch.tensor([0, 2, 1])], "in another order"),
        (lambda x: torch.cat([x[:1], x[:1], x[2:]]), lambda y: y, "in another order"),
        (lambda x: torch.stack([x[i].relu() for i in (2, 0, 1)]), lambda y: y, "in another order"),
        (lambda x: torch.stack(x.unbind()[::-1]), lambda y: y.flip(0), "in another order"),
        (lambda x: torch.cat([x[i][None] + x[i].mean() for i in (-1, 0, 1)]), lambda y: y, "in another order"),
        (lambda x: torch.stack([x[0], x[0], x[2]]), lambda y: y, "in another order"),
        (
            lambda x: _filled(x, *torch.tensor([1, 0, 2]).numpy()),
            lambda y: y[torch.tensor([1, 0, 2])],
            "in another order",
        ),
        (lambda x: _filled_by_twos(x, 1, 0), lambda y: y[torch.tensor([1, 2, 0])], "in another order"),
        (_overwritten, lambda y: y, "in another order"),
        (lambda x: _copied(x, 1, 0, 2), lambda y: y[torch.tensor([1, 0, 2])], "in another order"),
        (
            lambda x: _filled(x.transpose(0, 1).contiguous().transpose(0, 1), 1, 0, 2),  # zeros with its strides
            lambda y: y[torch.tensor([1, 0, 2])],
            "in another order",
        ),
        (lambda x: _added(x, 0, 1), lambda y: y, "in another order"),
        (lambda x: _added(x, slice(1, 3), slice(0, 2)), lambda y: y, "in another order"),
        (
            lambda x: torch.cat([(t := x.transpose(0, 1))[:, 1:], t[:, :1]], 1).transpose(0, 1),
            lambda y: y[[2, 0, 1]],
            "in another order",
        ),
        (lambda x: torch.stack(x.split(1)).flatten(0, 1).flip(0), lambda y: y.flip(0), "in another order"),
        (lambda x: x + x.flip(0), lambda y: y, "in another order"),
        (lambda x: _as_windows(x.flip(0)), lambda y: y.unflatten(0, (3, 2)).mean(1).flip(0), "in another order"),
        (lambda x: x[torch.tensor([True, False, True])], lambda y: F.pad(y, (0, 0, 0, 1)), "2 maps for a batch of 3"),
        (lambda x: x.repeat_interleave(2, 0), lambda y: y[::2], "6 maps for a batch of 3"),
        (lambda x: x.expand(2, *x.shape).flatten(0, 1), lambda y: y[:3], "6 maps for a batch of 3"),
    ],
)
def test_maps_that_are_not_one_for_each_sample_are_refused(
    change: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], message: str
) -> None:
    net = Does(lambda net, x: back(net.conv(change(x)).tanh().mean((2, 3))), conv=nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=f"'conv'.*{message}"):
        NormGrad(net, "conv").attribute(torch.rand(3, 3, 8, 8), 1)


@pytest.mark.parametrize("rows", [lambda x: torch.cat([x, x.flip(3)]), lambda x: x.repeat(2, 1, 1, 1)])
def test_a_single_sample_has_no_more_than_one_map(rows: Callable[[Tensor], Tensor]) -> None:
    net = Does(lambda net, x: net.conv(rows(x)).tanh().mean((0, 2, 3)).unsqueeze(0), conv=nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"'conv'.* gives 2 maps for a batch of 1.*copies"):
        NormGrad(net, "conv").attribute(torch.rand(1, 3, 8, 8), 1)


@pytest.mark.parametrize(
    ("head", "target", "back"),
    [
        (lambda t: torch.ones(3, 4).tril() @ t.mean((2, 3)).T, 1, lambda y: y.T),  # of three texts for each image
        (lambda t: t.mean((2, 3))[:, :3].T, [2, 1, 0], lambda y: y.T),
        (lambda t: t.mean(3)[:, :, :3].permute(2, 0, 1), (2, 1), lambda y: y.transpose(0, 1)),  # (steps, N, classes)
    ],
)
def test_an_output_whose_samples_do_not_come_first_is_refused(
    head: Callable[[Tensor], Tensor], target: object, back: Callable[[Tensor], Tensor]
) -> None:
    net = Does(lambda net, x: head(net.conv(x).tanh()), conv=nn.Conv2d(3, 4, 3))
    x = torch.rand(3, 3, 8, 8)
    with pytest.raises(ValueError, match=r"has the samples in dimension 1.*movedim\(1, 0\)"):
        NormGrad(net, "conv").attribute(x, target)
    y = net.conv(x).detach().requires_grad_()
    scores = back(head(y.tanh()))
    rows: object = range(3) if isinstance(target, list) else slice(None)
    chosen = scores[(rows, *(target if isinstance(target, tuple) else (target,)))]
    (g,) = torch.autograd.grad(chosen.sum(), y)
    found = NormGrad(lambda x: back(net(x)), net.conv).attribute(x, target)
    torch.testing.assert_close(found, y.detach().norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("scores", "target", "count"),
    [(lambda t: t.flatten(2).mT[0], 1, 36), (lambda t: t.mean((2, 3)).squeeze(), None, 4)],
    ids=["boxes", "squeezed"],
)
def test_a_single_sample_has_no_more_than_one_score(
    scores: Callable[[Tensor], Tensor], target: int | None, count: int
) -> None:
    net = Does(lambda net, x: scores(net.conv(x).tanh()), conv=nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=rf"'conv' .* gives 1 maps for a batch of {count}:"):
        NormGrad(net, "conv").attribute(torch.rand(1, 3, 8, 8), target)


def test_a_layer_that_sees_one_of_the_samples_is_refused() -> None:
    net = Does(
        lambda net, x: torch.cat([net.one(x[:1]), net.others(x[1:])]).tanh().mean((2, 3)),
        one=nn.Conv2d(3, 4, 3), others=nn.Conv2d(3, 4, 3),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"'one' .* gives 1 maps for a batch of 3:"):
        NormGrad(net, "one").attribute(torch.rand(3, 3, 8, 8), 1)


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x.split(2),
        lambda x: (x[:1], x[1:]),
        lambda x: x.chunk(3),
        lambda x: [sample[None] for sample in x],
        lambda x: [torch.stack([x[i, j] for j in range(3)])[None] for i in (0, -2, 2)],
        lambda x: [x.flip(0).relu().flip(0)],
        lambda x: [_filled(x, 0, -2, 2)],
        lambda x: [_copied(x, 0, -2, 2)],
        lambda x: [_filled_by_twos(x, 0, 2)],
    ],
)
def test_samples_that_are_put_together_again_in_their_order(cut: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    conv, x = nn.Conv2d(3, 4, 3), torch.rand(3, 3, 8, 8)
    apart = Does(lambda net, x: net.conv(torch.cat([part * 2 for part in cut(x)])).tanh().mean((2, 3)), conv=conv)
    whole = Does(lambda net, x: net.conv(x * 2).tanh().mean((2, 3)), conv=conv)
    torch.testing.assert_close(*(NormGrad(net, "conv").attribute(x, 1) for net in (apart, whole)))


@pytest.mark.parametrize("rows", [0, -1, slice(2), slice(1, None), slice(None, None, 2)])
def test_what_is_added_to_samples_of_their_own_is_in_order(rows: slice | int) -> None:
    net, x = Does(lambda net, x: net.conv(x).tanh().mean((2, 3)), conv=nn.Conv2d(3, 4, 3)), torch.randn(3, 3, 8, 8)
    added = Does(lambda _, x: net(_added(x, rows, rows)), net=net)
    changed = torch.stack([s + s.relu() * (i in torch.arange(3)[rows].reshape(-1)) for i, s in enumerate(x)])
    torch.testing.assert_close(NormGrad(added, "net.conv").attribute(x, 1), NormGrad(net, "conv").attribute(changed, 1))


def test_a_map_of_an_input_that_the_layer_does_not_depend_on_is_refused() -> None:
    net = Does(
        lambda net, a, b: net.both(net.one(a) + net.other(b).relu()).tanh().mean((2, 3)),
        one=nn.Conv2d(3, 4, 3), other=nn.Conv2d(3, 4, 3), both=nn.Conv2d(4, 4, 3),
    )  # fmt: skip
    a, b = torch.rand(2, 2, 3, 12, 12)
    with pytest.raises(ValueError, match=r"'other' .* does not depend on input 0.*additional_forward_args"):
        CombinedNormGrad(net, ["other", "both"]).attribute((a, b), 1)
    # Both maps are those of what both inputs reach; what only one reaches is explained where it is the only input.
    maps = CombinedNormGrad(net, ["both"]).attribute((a, b), 1)
    torch.testing.assert_close(maps, (CombinedNormGrad(net, ["both"]).attribute(a, 1, (b,)),) * 2)
    assert CombinedNormGrad(net, ["one", "both"]).attribute(a, 1, (b,)).shape == (2, 1, 12, 12)


def test_a_convolution_on_a_single_sample_is_refused() -> None:
    net = Does(lambda net, x: torch.stack([net.conv(sample).tanh().mean(1) for sample in x]), conv=nn.Conv1d(3, 4, 3))
    with pytest.raises(ValueError, match=r"'conv'.*works on a single sample, of shape \(4, 6\)"):
        NormGrad(net, "conv").attribute(torch.rand(1, 3, 8), 1)
