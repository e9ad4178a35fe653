"""extract="layer" against autograd through the real layer, one backward pass for each location."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from normgrad_attr import LAYER_EXTRACTS, NormGrad
from normgrad_attr.functional import Summands, Window

AGGREGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda s: s.norm(),
    "positive_norm": lambda s: s.clamp(min=0).norm(),
    "sum": lambda s: s.sum(),
    "positive_sum": lambda s: s.sum().clamp(min=0),
    "max": lambda s: s.max(),
}
some = settings(max_examples=15, deadline=None)


class Scored(nn.Module):
    """The layer with a head that makes every output element matter differently, and non-linearly."""

    def __init__(self, layer: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.layer = layer
        with torch.no_grad():
            self.head = torch.randn_like(layer(x)[:1])

    def score(self, y: Tensor) -> Tensor:
        return (self.head * (y + 0.3 * y * y)).flatten(1).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.layer(x))


def locations(shape: torch.Size, channel_dim: int) -> Iterator[tuple[Any, ...]]:
    channel_dim %= len(shape)
    ranges = [[slice(None)] if d == channel_dim else range(n) for d, n in enumerate(shape) if d > 0]
    return itertools.product(*ranges)


def oracle(model: Scored, x: Tensor, channel_dim: int, on_input: bool, keep: Callable[[Tensor], Tensor]) -> Any:
    """The weight's gradient with the target's gradient (or the layer's input) zero but for one sample and location."""
    layer = model.layer
    y = layer(x)
    (g,) = torch.autograd.grad(model.score(y).sum(), y, retain_graph=True)
    grid = x if on_input else y
    # On the input grid the bias belongs to no location.
    own = [p for k, p in layer.named_parameters() if not (on_input and k == "bias")]
    summands = []
    for n in range(len(x)):
        for u in locations(grid.shape, channel_dim):
            here = torch.zeros_like(grid)
            here[(n, *u)] = 1
            acted, cotangent = (layer(x * here), g) if on_input else (y, g * here)
            grads = torch.autograd.grad(acted, own, cotangent, retain_graph=True)
            summands.append(torch.cat([keep(t).flatten() for t in grads]))
    spatial = [s for d, s in enumerate(grid.shape) if d not in (0, channel_dim % grid.dim())]
    return {a: torch.stack([f(s) for s in summands]).reshape(len(x), 1, *spatial) for a, f in AGGREGATES.items()}


def check(
    layer: nn.Module,
    x: Tensor,
    channel_dim: int = 1,
    *,
    on_input: bool = False,
    keep: Callable[[Tensor], Tensor] = lambda t: t,
) -> None:
    layer, x = layer.double(), x.double()
    for parameter in layer.parameters():  # norms start at weight one, bias zero
        nn.init.normal_(parameter)
    model = Scored(layer, x)
    expected = oracle(model, x, channel_dim, on_input, keep)
    maps = NormGrad(model, "layer").attribute_grid(x, extracts=["layer"], aggregates=list(AGGREGATES))
    for a, truth in expected.items():
        torch.testing.assert_close(maps["layer", a], truth, rtol=1e-10, atol=1e-10 * truth.abs().max().item())


_CONVS = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
_TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@some
@given(st.data())
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_conv(dims: int, data: st.DataObject) -> None:
    draw = data.draw
    side, most = {1: (9, 2), 2: (6, 2), 3: (3, 1)}[dims]  # most: dilation and padding that fit the side
    kernel = draw(st.tuples(*[st.integers(1, 3)] * dims))
    dilation = draw(st.tuples(*[st.integers(1, most)] * dims))
    padding: Any = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.integers(0, most)] * dims)))
    stride = (1,) * dims if padding == "same" else draw(st.tuples(*[st.integers(1, 3)] * dims))
    groups = draw(st.sampled_from([1, 2, 4]))
    layer = _CONVS[dims - 1](
        4,
        groups * draw(st.integers(1, 2)),
        kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    )
    torch.manual_seed(draw(st.integers(0, 99)))
    check(layer, torch.randn(1, 4, *[side + (i == 0) for i in range(dims)]))


@some
@given(st.data())
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_conv_transpose(dims: int, data: st.DataObject) -> None:
    draw = data.draw
    kernel = draw(st.tuples(*[st.integers(1, 3)] * dims))
    stride = draw(st.tuples(*[st.integers(1, 3)] * dims))
    dilation = draw(st.tuples(*[st.integers(1, 3)] * dims))
    padding = tuple(draw(st.integers(0, min(1, d * (k - 1)))) for k, d in zip(kernel, dilation, strict=True))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    groups = draw(st.sampled_from([1, 2, 4]))
    layer = _TRANSPOSED[dims - 1](
        4,
        groups * draw(st.integers(1, 2)),
        kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        output_padding=extra,
        groups=groups,
        bias=draw(st.booleans()),
    )
    torch.manual_seed(draw(st.integers(0, 99)))
    check(layer, torch.randn(1, 4, *[{1: 5, 2: 4, 3: 2}[dims] + i for i in range(dims)]), on_input=True)


def test_conv_transpose_with_an_output_size() -> None:
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1).double()
    x = torch.randn(1, 2, 4, 5).double()

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, output_size=[8, 9]).square().sum((1, 2, 3))

    found = NormGrad(Decoder(), "layer", extract="layer").attribute(x)
    fixed = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=(1, 0)).double()
    fixed.load_state_dict(layer.state_dict())
    model = nn.Sequential(fixed, nn.Flatten())
    expected = NormGrad(lambda x: model(x).square().sum(1), fixed, extract="layer").attribute(x)
    assert found.shape == (1, 1, 4, 5)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 5), (2, 4, 5), (2, 3, 2, 5)])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    check(nn.Linear(5, 3, bias=bias), torch.randn(shape), channel_dim=-1)


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("dims", [0, 1, 2, 3])
def test_batch_norm(dims: int, running: bool) -> None:
    types = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d]
    layer = types[dims](4, track_running_stats=running)
    layer(torch.randn(8, 4, *[3] * dims) * 2 + 1)  # statistics other than 0 and 1
    check(layer.eval(), torch.randn(3, 4, *[3] * dims))


def test_batch_norm_in_training_mode_uses_the_statistics_of_the_batch_and_keeps_its_own() -> None:
    layer = nn.BatchNorm2d(4)
    with pytest.warns(UserWarning, match="training mode"):
        check(layer, torch.randn(3, 4, 2, 3))


def test_synchronised_batch_norm_in_evaluation_mode() -> None:
    layer = nn.SyncBatchNorm(4)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    check(layer.eval(), torch.randn(3, 4, 2, 3))


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_instance_norm(dims: int, running: bool) -> None:
    types = [nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d]
    layer = types[dims - 1](4, affine=True, track_running_stats=running)
    layer(torch.randn(8, 4, *[3] * dims) * 2 + 1)
    check(layer.eval(), torch.randn(2, 4, *[3] * dims))


# Without spatial dimensions a group of one channel has no variance.
@pytest.mark.parametrize(("dims", "groups"), [(0, 1), (0, 2), (1, 1), (1, 4), (2, 1), (2, 2), (2, 4)])
def test_group_norm(dims: int, groups: int) -> None:
    check(nn.GroupNorm(groups, 4), torch.randn(2, 4, *[3] * dims))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 6), (2, 4, 6), (2, 3, 2, 6)])
def test_layer_norm(shape: tuple[int, ...], bias: bool) -> None:
    check(nn.LayerNorm(6, bias=bias), torch.randn(shape), channel_dim=-1)


def test_layer_norm_over_whole_images_has_weights_of_its_own_at_each_location() -> None:
    # The other locations' weights are no part of a location's summand: they matter to a maximum.
    check(nn.LayerNorm((4, 3, 2)), torch.randn(2, 4, 3, 2), keep=lambda t: t[t != 0])


def test_layer_norm_over_some_dimensions() -> None:
    layer, x = nn.LayerNorm((3, 4)), torch.randn(2, 5, 3, 4)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(60, 2))
    flat = nn.LayerNorm(12)
    same = nn.Sequential(nn.Flatten(2), flat, nn.Flatten(), model[2])
    expected = NormGrad(same, flat, extract="layer").attribute(x, target=1)
    torch.testing.assert_close(NormGrad(model, layer, extract="layer").attribute(x, target=1), expected)


@pytest.mark.parametrize("shape", [(2, 6), (2, 4, 6), (2, 3, 2, 6)])
def test_rms_norm(shape: tuple[int, ...]) -> None:
    check(nn.RMSNorm(6), torch.randn(shape), channel_dim=-1)


@pytest.mark.parametrize("bias", [True, False])
def test_parametrized_weights_count_as_the_layer_uses_them(bias: bool) -> None:
    layer = nn.Conv2d(3, 4, 3, bias=bias)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(64, 2)).eval()
    x = torch.randn(2, 3, 6, 6)
    expected = NormGrad(model, "0", extract="layer").attribute(x, target=0)
    nn.utils.parametrizations.weight_norm(layer)
    torch.testing.assert_close(NormGrad(model, "0", extract="layer").attribute(x, target=0), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models(dtype: torch.dtype) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 2))
    x = torch.randn(2, 3, 6, 6)
    expected = NormGrad(layers.eval(), ["0", "1", "2", "4"], extract="layer").attribute(x, target=0)
    found = NormGrad(layers.to(dtype), ["0", "1", "2", "4"], extract="layer").attribute(x.to(dtype), target=0)
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == dtype
        torch.testing.assert_close(f.float(), e, rtol=0.1, atol=0.05 * e.abs().max().item())


def test_under_autocast() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 2)).eval()
    x = torch.randn(2, 3, 6, 6)
    expected = NormGrad(layers, ["0", "1", "3"], extract="layer").attribute(x, target=0)
    with torch.autocast("cpu", torch.bfloat16):
        found = NormGrad(layers, ["0", "1", "3"], extract="layer").attribute(x, target=0)
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == torch.float32
        torch.testing.assert_close(f, e, rtol=0.1, atol=0.05 * e.abs().max().item())


class LayerNorm2d(nn.LayerNorm):
    """As ConvNeXt's: the base's weights, on another dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.ReLU(), "'0' .ReLU."),
        (nn.BatchNorm2d(3, affine=False), "'0' .BatchNorm2d."),
        (nn.PReLU(3), "'0' .PReLU.*Conv2d.*LAYER_EXTRACTS"),
        (nn.Sequential(nn.Conv2d(3, 3, 1)), "'0' .Sequential.*LAYER_EXTRACTS"),
        (LayerNorm2d(3), "'0' .LayerNorm2d.*not that of LayerNorm.*LAYER_EXTRACTS"),
    ],
)
def test_a_layer_without_known_weights_is_an_error_that_names_it(layer: nn.Module, names: str) -> None:
    model = nn.Sequential(layer, nn.Flatten()).eval()
    with pytest.raises(ValueError, match=names) as error:
        NormGrad(model, "0", extract="layer").attribute(torch.randn(1, 3, 3, 3), target=0)
    assert str(error.value).count(". ") == 0


def test_a_type_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    def prelu(layer: Any, x: Tensor, g: Tensor) -> Summands:
        return Summands(g, x.clamp(max=0), groups=x.shape[1])

    def layer_norm_2d(layer: Any, x: Tensor, g: Tensor) -> Summands:
        normalised = F.layer_norm(x.movedim(1, -1), layer.normalized_shape, eps=layer.eps).movedim(-1, 1)
        return Summands(g, normalised, groups=g.shape[1], bias=True)

    monkeypatch.setitem(LAYER_EXTRACTS, nn.PReLU, prelu)
    monkeypatch.setitem(LAYER_EXTRACTS, LayerNorm2d, layer_norm_2d)
    check(nn.PReLU(3), torch.randn(2, 3, 2, 3))
    check(LayerNorm2d(3), torch.randn(2, 3, 2, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_window_of_a_dilated_convolution_is_summed_in_full_precision_under_autocast(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), nn.Flatten()).eval()
    x = 300 * torch.rand(1, 3, 9, 9)
    method = NormGrad(model, "0", extract="layer")
    expected = method.attribute(x, 0)
    with torch.autocast("cpu", dtype=dtype):
        found = method.attribute(x, 0)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=0)
    window = Window((3, 3), (1, 1), (2, 2), ((2, 2), (2, 2)))
    with torch.autocast("cpu", dtype=dtype):
        inside = window.sum(x.square())
    assert torch.equal(inside, window.sum(x.square()))


@pytest.mark.parametrize("kind", [nn.Linear, nn.LayerNorm])
@pytest.mark.parametrize("batch", [2, 7])
def test_places_that_come_before_the_batch(kind: type[nn.Module], batch: int) -> None:
    """(places, N, C) gives the map of the same tokens as (N, places, C)."""

    class Tokens(nn.Module):
        def __init__(self, first: bool) -> None:
            super().__init__()
            self.first, self.embed = first, nn.Linear(5, 6)
            self.layer = nn.Linear(6, 6) if kind is nn.Linear else nn.LayerNorm(6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            t = self.embed(x)
            t = self.layer(t.transpose(0, 1) if self.first else t)
            return self.head(t).tanh().sum(0 if self.first else 1)

    places_first, batch_first, x = Tokens(True), Tokens(False), torch.rand(batch, 7, 5)
    batch_first.load_state_dict(places_first.state_dict())
    found, expected = (NormGrad(net, "layer", extract="layer").attribute(x, 1) for net in (places_first, batch_first))
    assert found.shape == (batch, 1, 7)
    torch.testing.assert_close(found, expected)


def test_the_padding_and_dilation_that_a_convolution_has_now() -> None:
    """As networks for segmentation change those of a classifier that is there."""
    changed, x = nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.rand(2, 3, 9, 9)
    changed.stride, changed.padding, changed.dilation = (1, 1), (2, 2), (2, 2)
    made = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
    made.load_state_dict(changed.state_dict())
    head = nn.Linear(4, 2)
    found, expected = (
        NormGrad(lambda t, c=conv: head(c(t).tanh().mean((2, 3))), conv, extract="layer").attribute(x, 1)
        for conv in (changed, made)
    )
    torch.testing.assert_close(found, expected)


def test_a_forward_that_was_put_in_the_place_of_the_layers_own_is_refused() -> None:
    conv, x = nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8)
    conv.forward = lambda t: 2 * F.conv2d(t, conv.weight)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="its forward is not that of Conv2d"):
        NormGrad(nn.Sequential(conv, nn.Flatten()), "0", extract="layer").attribute(x, 1)


def test_what_a_hook_of_the_users_makes_of_the_output_is_behind_the_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Tanh(), nn.Linear(144, 2)).eval()
    x = torch.rand(2, 3, 8, 8)
    inside = nn.Sequential(model[0], nn.Hardtanh(-0.1, 0.4), *model[1:])
    expected = NormGrad(inside, "0", extract="layer").attribute(x, 1)
    model[0].register_forward_hook(lambda *args: F.hardtanh(args[2], -0.1, 0.4))
    torch.testing.assert_close(NormGrad(model, "0", extract="layer").attribute(x, 1), expected)
