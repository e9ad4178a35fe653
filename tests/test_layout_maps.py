"""Maps of layers of all layouts, where they lie on the input, against norms that are taken by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from layouts import GRID, IMAGE, Does, Unknown, kept, layout_of
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad, suggest_layers
from normgrad_attr.functional import combine_maps


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
        (lambda x: F.pad(x, (-3, 3, 2, -2)), -2, 3),  # as many places as before, and none where it was
        (lambda x: x[:, :, 5:6], 5, 0),
        (lambda x: x[:, :, 5].unsqueeze(2), 5, 0),
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


@pytest.mark.parametrize(
    "convolution",
    [
        lambda conv, x: F.conv2d(x, conv.weight, conv.bias, padding="valid"),
        lambda conv, x: F.conv2d(x, conv.weight, conv.bias, stride=[1], padding=[0]),
        lambda conv, x: F.avg_pool2d(conv(x), [1]),
    ],
)
def test_one_number_may_stand_for_all_dimensions(convolution: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
    """``padding="valid"`` is kept as one number, and the places behind it were known no more."""
    conv, x = nn.Conv2d(3, 6, 1), torch.rand(2, 3, 16, 16)
    net = Does(lambda net, x: net.seen(convolution(conv, x[..., 8:])).tanh().mean((2, 3)), seen=nn.Identity())
    on_input = F.pad(NormGrad(net, "seen").attribute(x, 1), (8, 0, 0, 0))
    torch.testing.assert_close(CombinedNormGrad(net, ["seen"]).attribute(x, 1), combine_maps([on_input], (16, 16)))


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
        lambda x: x + x.flip(-1),
        lambda x: x + x.roll(2, 2),
        lambda x: x.rot90(1, (2, 3)),
        lambda x: (y := F.conv2d(x, torch.randn(3, 3, 1, 1))) + y.mT,
        lambda x: F.fold(F.unfold(x, 4, stride=4).flip(-1), 16, 4, stride=4),
        lambda x: x.topk(16, -1)[0],
        lambda x: x.take(torch.arange(768).flip(0).view(x.shape)),
        lambda x: x.contiguous().as_strided((1, 3, 16, 16), (768, 256, 1, 16)),
        lambda x: x.tile(1, 1, 1, 2),
        lambda x: x[..., :8] - x[..., 8:].relu(),
        lambda x: torch.cat([x[:, :1, :8], x[:, 1:, 8:]], 1),
        lambda x: torch.stack([x[..., i] for i in range(15, -1, -1)], -1),
        lambda x: torch.stack(x.unbind(2)[8:] + x.unbind(2)[:8], 2),
        lambda x: torch.stack(x.flatten(1, 2).unbind(1)[::-1], 1).unflatten(1, (3, 16)),
        lambda x: x.mean(2).unflatten(2, (4, 4)),  # both are pieces of columns
    ],
)
def test_places_that_change_places_are_not_laid_out(change: Callable[[Tensor], Tensor]) -> None:
    net = Does(lambda net, x: net.conv(change(x)).tanh().mean((2, 3)), conv=nn.Conv2d(3, 6, 3))
    with pytest.raises(ValueError, match=r"layer 'conv'.*(moved around|not known how its)"):
        CombinedNormGrad(net, ["conv"]).attribute(torch.rand(1, 3, 16, 16), 1)


class Rounded(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round(decimals=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad


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
        lambda x: torch.fake_quantize_per_tensor_affine(F.interpolate(x, size=(16, 16)), 0.1, 0, 0, 255).asinh(),
        lambda x: torch.stack([column.relu() for column in F.interpolate(x, size=(16, 16)).unbind(-1)], -1),
        lambda x: (y := F.interpolate(x, size=(16, 16))) + y.flip(-1).relu().flip(-1),
        lambda x: F.interpolate(x, size=(16, 16)).roll(3, 2).flip(2).roll(3, 2).flip(2),
        lambda x: F.interpolate(x, size=(16, 16)).rot90(1, (2, 3)).relu().rot90(3, (2, 3)),
        # Two scans, from either end, over places in raster order.
        lambda x: (
            (y := F.interpolate(x, size=(16, 16)).flatten(2)).cumsum(-1) + y.flip(-1).cumsum(-1).flip(-1)
        ).unflatten(2, (16, 16)),
        lambda x: Rounded.apply(F.interpolate(x, size=(16, 16))),
        lambda x: F.channel_shuffle(F.interpolate(x, size=(16, 16)).repeat(1, 2, 1, 1), 2)[:, :3],
    ],
)
def test_what_moves_no_place_is_laid_out_on_all_of_the_input(change: Callable[[Tensor], Tensor]) -> None:
    net = Does(lambda net, x: net.conv(change(x)).tanh().mean((2, 3)), conv=nn.Conv2d(3, 6, 3, padding=1)).eval()
    x = torch.rand(2, 3, 8, 8)
    layer_map = NormGrad(net, "conv").attribute(x, 1)
    assert layer_map.shape == (2, 1, 16, 16)
    found = CombinedNormGrad(net, ["conv"]).attribute(x, 1)
    torch.testing.assert_close(found, combine_maps([layer_map], (8, 8)))


def test_a_recurrent_layer_and_distances_keep_the_steps_of_a_sequence() -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Linear(5, 6), nn.LSTM(6, 8, batch_first=True)
            self.kept, self.head = nn.Identity(), nn.Linear(4, 3)
            self.points = nn.Parameter(torch.randn(4, 8))

        def forward(self, x: Tensor) -> Tensor:
            near = torch.cdist(self.lstm(self.embed(x))[0], self.points.expand(len(x), -1, -1))
            return self.head(self.kept(near).tanh().mean(1))

    net, x = Steps().eval(), torch.rand(2, 7, 5)
    near = torch.cdist(net.lstm(net.embed(x))[0], net.points.expand(2, -1, -1)).detach().requires_grad_()
    (g,) = torch.autograd.grad(net.head(near.tanh().mean(1))[:, 1].sum(), near)
    literal = (g.norm(dim=2) * near.detach().norm(dim=2)).unsqueeze(1)
    torch.testing.assert_close(NormGrad(net, "kept").attribute(x, 1), literal)
    torch.testing.assert_close(CombinedNormGrad(net, ["kept"]).attribute(x, 1), combine_maps([literal], (7,)))
