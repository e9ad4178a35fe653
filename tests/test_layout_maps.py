"""Maps of layers of all layouts, against norms that are taken by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from layouts import GRID, IMAGE, Unknown, kept, layout_of
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad, suggest_layers
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


class Does(nn.Module):
    """A forward that is a function of the module and its input."""

    def __init__(self, does: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.does = does
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any) -> Tensor:
        return self.does(self, *inputs)


@pytest.mark.parametrize(
    ("change", "row", "column"),
    [
        (lambda x: x[..., 8:], 0, 8),
        (lambda x: x[..., 1:], 0, 1),
        (lambda x: x[:, :, 4:12, 4:12], 4, 4),
        (lambda x: x.narrow(2, 3, 10), 3, 0),
        (lambda x: F.pad(x, (-4, -4, 0, 0)), 0, 4),
        (lambda x: F.pad(x, (0, 16, 0, 0)), 0, 0),
        (lambda x: F.pad(x, (5, 0, 3, 2), mode="reflect"), -3, -5),
        (lambda x: F.pad(F.pad(x, (3, 3, 3, 3)), (-2, -2, -2, -2)), -1, -1),
        (lambda x: F.pad(x, (0, 4, 0, 4))[:, :, 1:17, 2:18], 1, 2),
    ],
)
def test_what_is_cut_or_padded_lies_where_it_was_on_the_input(
    change: Callable[[Tensor], Tensor], row: int, column: int
) -> None:
    net, x = (
        Does(lambda net, x: net.conv(change(x)).tanh().mean((2, 3)), conv=nn.Conv2d(3, 6, 1)),
        torch.rand(2, 3, 16, 16),
    )
    layer_map = NormGrad(net, "conv").attribute(x, 1)
    height, width = layer_map.shape[2:]
    # The same with a negative sign: what lies outside of the input is cut, and zero where nothing was seen.
    on_input = F.pad(layer_map, (column, 16 - width - column, row, 16 - height - row))
    found = CombinedNormGrad(net, ["conv"]).attribute(x, 1)
    torch.testing.assert_close(found, combine_maps([on_input], (16, 16)))


def test_a_crop_between_places_of_a_coarse_layer() -> None:
    """Of 48 pixels the 32 in the middle, in steps of 16: the first place lies from 8 to 24."""
    net = Does(lambda net, x: net.conv(x[..., 8:40]).tanh().mean((2, 3)), conv=nn.Conv2d(3, 6, 16, 16))
    x = torch.rand(1, 3, 16, 48)
    found = CombinedNormGrad(net, ["conv"], smoothing=None).attribute(x, 1)[0, 0]
    assert (found[:, :4] == 0).all()
    assert (found[:, 44:] == 0).all()
    (values,) = NormGrad(net, "conv").attribute(x, 1)
    brightest = int(found[0].argmax())
    assert (brightest < 24) == (int(values.argmax()) == 0)
    assert 8 <= brightest < 40


@pytest.mark.parametrize(
    "padded",
    [
        lambda x, weight: F.conv2d(F.pad(x, (3, 3, 3, 3)), weight, stride=2),
        lambda x, weight: F.conv2d(F.pad(x, (2, 4, 2, 4)), weight, stride=2),
        lambda x, weight: F.conv2d(x, weight, stride=2, padding=3),
    ],
)
def test_padding_that_a_window_uses_up_moves_nothing(padded: Callable[[Tensor, Tensor], Tensor]) -> None:
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    layout = layout_of(padded(x, torch.randn(4, 3, 7, 7)))
    assert layout.grid(2) == (16, 16)
    assert layout.laid_out(torch.ones(2, 1, 16, 16), None, 2).eq(1).all()


def _into_another(x: Tensor) -> Tensor:
    result = torch.zeros_like(x)
    result[..., :8] = x[..., 8:]
    result[..., 8:] = x[..., :8]
    return result


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[..., torch.arange(15, -1, -1)],
        lambda x: x[:, :, list(range(15, -1, -1))],
        lambda x: F.grid_sample(x, -F.affine_grid(torch.eye(2, 3)[None], [1, 3, 16, 16], False), align_corners=False),
        _into_another,
        lambda x: torch.zeros_like(x).scatter(3, torch.arange(15, -1, -1).expand(x.shape), x),
        lambda x: torch.cat([x[..., 8:], x[..., :8]], -1),
        lambda x: F.conv2d(torch.cat([x[..., 8:], x[..., :8]], -1), torch.randn(3, 3, 3, 3)),
        lambda x: torch.where(x > 2, x, x.flip(-1)),
        lambda x: F.fold(F.unfold(x, 4, stride=4).flip(-1), 16, 4, stride=4),
    ],
)
def test_places_that_change_places_are_not_laid_out(change: Callable[[Tensor], Tensor]) -> None:
    net = Does(lambda net, x: net.conv(change(x)).tanh().mean((2, 3)), conv=nn.Conv2d(3, 6, 3))
    with pytest.raises(ValueError, match=r"layer 'conv'.*(moved around|not known how its)"):
        CombinedNormGrad(net, ["conv"]).attribute(torch.rand(1, 3, 16, 16), 1)


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


@pytest.mark.parametrize("cut", [lambda x: x.split(2), lambda x: (x[:1], x[1:]), lambda x: x.chunk(3)])
def test_samples_that_are_put_together_again_in_their_order(cut: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    conv, x = nn.Conv2d(3, 4, 3), torch.rand(3, 3, 8, 8)
    apart = Does(lambda net, x: net.conv(torch.cat([part * 2 for part in cut(x)])).tanh().mean((2, 3)), conv=conv)
    whole = Does(lambda net, x: net.conv(x * 2).tanh().mean((2, 3)), conv=conv)
    torch.testing.assert_close(*(NormGrad(net, "conv").attribute(x, 1) for net in (apart, whole)))


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


def _batched(x: Tensor) -> Tensor:
    """As detectors put images of a list into one tensor."""
    images = [F.interpolate(image[None], size=(16, 16))[0] for image in x]
    batch = torch.zeros(len(images), *images[0].shape)
    for number, image in enumerate(images):
        batch[number, :, : image.shape[1], : image.shape[2]].copy_(image)
    return batch


@pytest.mark.parametrize(
    "change",
    [
        _batched,
        lambda x: F.leaky_relu_(F.instance_norm(F.interpolate(x, size=(16, 16)))),
        lambda x: F.pad(F.interpolate(x, size=(15, 15)), (1, 0, 1, 0)),
    ],
)
def test_what_moves_no_place_is_laid_out_on_all_of_the_input(change: Callable[[Tensor], Tensor]) -> None:
    net = Does(lambda net, x: net.conv(change(x)).tanh().mean((2, 3)), conv=nn.Conv2d(3, 6, 3, padding=1)).eval()
    x = torch.rand(2, 3, 8, 8)
    layer_map = NormGrad(net, "conv").attribute(x, 1)
    assert layer_map.shape == (2, 1, 16, 16)
    found = CombinedNormGrad(net, ["conv"]).attribute(x, 1)
    torch.testing.assert_close(found, combine_maps([layer_map], (8, 8)))
