"""All cells of the extract x aggregate grid against the literal oracle."""

from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from normgrad_attr._aggregate import AGGREGATES
from normgrad_attr._extract import EXTRACTS, virtual_identity
from normgrad_attr.functional import Summands, Window, normgrad_map

CELLS = [(e, a) for e in (*EXTRACTS, "conv5x5", "depthwise_conv5x5", "depthwise_conv1x1") for a in AGGREGATES]


@st.composite
def activations(draw: st.DrawFn, dims: tuple[int, ...] = (1, 2, 3)) -> torch.Tensor:
    """Small float64 activations; some channels are dead or one-signed, as behind a ReLU."""
    number = draw(st.sampled_from(dims))
    spatial = [draw(st.integers(1, {1: 7, 2: 4, 3: 3}[number])) for _ in range(number)]
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), *spatial)
    torch.manual_seed(draw(st.integers(0, 10_000)))
    x = torch.randn(shape, dtype=torch.float64)
    return draw(st.sampled_from([x, x.relu(), -x.abs(), x * (x[:, :1] > 0)]))


def gradient(x: torch.Tensor, head: oracle.Head) -> torch.Tensor:
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(head(leaf).sum(), leaf)[0]


def assert_same(actual: torch.Tensor, expected: torch.Tensor, relative: float) -> None:
    # Sums cancel, so errors count relative to the largest value of the map.
    scale = expected.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    assert actual.shape == expected.shape
    assert ((actual.double() - expected.double()).abs().max() / scale).item() <= relative


@pytest.mark.parametrize(("extract", "aggregate"), CELLS)
@settings(max_examples=20)
@given(x=activations(), seed=st.integers(0, 10_000))
def test_closed_form_equals_oracle_in_float64(extract, aggregate, x, seed):
    head = oracle.random_head(x.shape, seed)
    actual = normgrad_map(x, gradient(x, head), extract=extract, aggregate=aggregate)
    assert actual.dtype == torch.float64
    assert_same(actual, oracle.normgrad(x, head, extract, aggregate), 1e-10)


@pytest.mark.parametrize(("extract", "aggregate"), CELLS)
@settings(max_examples=20)
@given(x=activations(), seed=st.integers(0, 10_000))
def test_closed_form_equals_oracle_in_float32(extract, aggregate, x, seed):
    head = oracle.random_head(x.shape, seed)
    x = x.float().double()  # the same numbers in both precisions
    g = gradient(x, head).float()
    entries = oracle.weight_gradients(x, lambda y: (y * g.double()).flatten(1).sum(1), extract)
    expected = oracle.aggregate(entries, aggregate).reshape(x.shape[0], 1, *x.shape[2:])
    scale = oracle.aggregate(entries.abs(), "sum" if aggregate.endswith("sum") else "norm").max().clamp(min=1e-30)
    actual = normgrad_map(x.float(), g, extract=extract, aggregate=aggregate)
    assert actual.dtype == torch.float32
    assert ((actual.double() - expected).abs().max() / scale).item() <= 1e-5


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("extract", ["bias", "scaling", "conv1x1"])
def test_no_spatial_dimensions(extract, aggregate):
    x = torch.randn(3, 6, dtype=torch.float64)
    head = oracle.random_head(x.shape, 1)
    actual = normgrad_map(x, gradient(x, head), extract=extract, aggregate=aggregate)
    assert actual.shape == (3, 1)
    assert_same(actual, oracle.normgrad(x[..., None], lambda y: head(y[..., 0]), extract, aggregate)[..., 0], 1e-10)


@pytest.mark.parametrize(("extract", "aggregate"), CELLS)
def test_strides_do_not_matter(extract, aggregate):
    x, g = torch.randn(2, 2, 6, 5, 4, dtype=torch.float64)
    expected = normgrad_map(x, g, extract=extract, aggregate=aggregate)
    transposed = [t.transpose(2, 3).contiguous().transpose(2, 3) for t in (x, g)]
    channels_last = [t.contiguous(memory_format=torch.channels_last) for t in (x, g)]
    strided = [torch.stack([t, t], -1)[..., 0] for t in (x, g)]
    for tensors in (transposed, channels_last, strided):
        torch.testing.assert_close(normgrad_map(*tensors, extract=extract, aggregate=aggregate), expected)


@pytest.mark.parametrize("extract", EXTRACTS)
def test_half_precision_accumulates_in_float32(extract):
    # Squares of these gradients underflow float16, and their sum over channels overflows it.
    x = torch.full((1, 512, 4, 4), 300.0, dtype=torch.float16)
    g = torch.full_like(x, 1e-5)
    expected = normgrad_map(x.double(), g.double(), extract=extract)
    actual = normgrad_map(x, g, extract=extract)
    assert actual.dtype == torch.float16
    torch.testing.assert_close(actual.double(), expected, rtol=1e-3, atol=0)


def test_channels_in_the_last_dimension():
    x, g = torch.randn(2, 2, 5, 7)
    actual = normgrad_map(x, g, channel_dim=-1)
    assert actual.shape == (2, 1, 5)
    torch.testing.assert_close(actual, normgrad_map(x.transpose(1, 2), g.transpose(1, 2)))


@pytest.mark.parametrize(("extract", "aggregate"), CELLS)
def test_maps_can_be_differentiated(extract, aggregate):
    # Dead locations included: their norm is zero, where a square root has no finite derivative.
    x, g = torch.randn(2, 1, 3, 3, 3, dtype=torch.float64)
    g[..., 1, 1] = 0
    x[..., 1, 1] = 0
    x.requires_grad_()
    g.requires_grad_()
    total = normgrad_map(x, g, extract=extract, aggregate=aggregate).sum()
    for derivative in torch.autograd.grad(total, (x, g), allow_unused=True):
        assert derivative is None or derivative.isfinite().all()


@pytest.mark.parametrize("power", [-38, -30, -20, 20, 30])
@pytest.mark.parametrize(("extract", "aggregate"), CELLS)
def test_maps_scale_with_the_score_where_squares_do_not(extract, aggregate, power):
    # In float64 1e-38 is far from any border. The second sample, of another size by far, must not suffer.
    x, g = torch.randn(2, 2, 4, 5, 5, dtype=torch.float64)
    g *= torch.tensor([10.0**power, 1]).view(2, 1, 1, 1)
    actual = normgrad_map(x.float(), g.float(), extract=extract, aggregate=aggregate)
    for found, expected in zip(actual.double(), normgrad_map(x, g, extract=extract, aggregate=aggregate), strict=True):
        assert ((found - expected).abs().max() / expected.abs().max()).item() < 1e-5
    # What holds for the gradient holds for the activation.
    if extract != "bias":
        swapped = normgrad_map(g.float(), x.float(), extract=extract, aggregate=aggregate).double()
        for found, expected in zip(swapped, normgrad_map(g, x, extract=extract, aggregate=aggregate), strict=True):
            assert ((found - expected).abs().max() / expected.abs().max()).item() < 1e-5


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(("g_power", "x_power"), [(-30, 0), (30, 0), (30, -35), (-30, 35), (0, 25), (0, -25)])
def test_weight_and_bias_scale_together(aggregate, g_power, x_power):
    x, g = torch.randn(2, 2, 4, 5, 5, dtype=torch.float64)
    x, g = x * 10.0**x_power, g * 10.0**g_power
    window = Window.centred(3, dims=2)
    expected = AGGREGATES[aggregate](Summands(g, x, window, groups=2, bias=True))
    actual = AGGREGATES[aggregate](Summands(g.float(), x.float(), window, groups=2, bias=True)).double()
    assert ((actual - expected).abs().max() / expected.abs().max()).item() < 1e-5


@pytest.mark.parametrize(
    ("dtype", "power"), [(torch.float32, 70), (torch.float32, -80), (torch.float64, 700), (torch.float64, -700)]
)
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_scaling_rounds_nothing(aggregate, dtype, power):
    x, g = torch.randn(2, 4, 3, 5, 5, dtype=dtype)
    expected = normgrad_map(x, g, aggregate=aggregate)
    assert normgrad_map(x, g * 2.0**power, aggregate=aggregate).equal(expected * 2.0**power)
    assert normgrad_map(x * 2.0**power, g, aggregate=aggregate).equal(expected * 2.0**power)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_scaling_spoils_no_zeros_and_no_other_sample(aggregate):
    x, g = torch.randn(2, 4, 3, 5, 5)
    expected = normgrad_map(x, g, aggregate=aggregate)
    g[1], g[2, 0, 0, 0], g[3, 0, 0, 0] = 0, float("nan"), float("inf")
    actual = normgrad_map(x, g, aggregate=aggregate)
    assert actual[0].equal(expected[0])
    assert actual[1].eq(0).all()
    # One location without a finite gradient leaves the others as they are.
    assert not actual[2:, :, 0, 0].isfinite().any()
    assert actual[2:, :, 1:].equal(expected[2:, :, 1:])


@pytest.mark.parametrize("aggregate", ["sum", "positive_sum"])
@pytest.mark.parametrize("channels", [1, 3, 6, 7, 192, 320, 513])
def test_equal_summands_have_equal_sums_at_every_location(aggregate, channels):
    # However much cancels: what is left of these is nothing but the order of addition.
    vector = torch.randn(1, channels, 1, 1) * 1e4
    vector = torch.cat([vector, -vector.flip(1), torch.full((1, 1, 1, 1), 1e-2)], 1)
    for side in (5, 7, 8, 13):
        g = vector.expand(2, -1, side, side).contiguous()
        found = normgrad_map(g, g, extract="bias", aggregate=aggregate)
        assert found.eq(found[0, 0, 0, 0]).all()
        exact = vector.double().sum()
        exact = exact.clamp(min=0) if aggregate == "positive_sum" else exact
        assert (found - exact).abs().max() < 1e-5 * vector.abs().sum()


def test_scaling_and_positive_sum_beside_layer_cam():
    x, g = torch.randn(2, 3, 6, 4, 4).abs()
    # LayerCAM, Jiang et al. 2021, equations 4 to 6: weights relu(g), summed over channels, relu.
    cam = (g.relu() * x).sum(1, keepdim=True).relu()
    torch.testing.assert_close(normgrad_map(x, g, extract="scaling", aggregate="positive_sum"), cam)
    g[:, ::2] *= -1
    cam = (g.relu() * x).sum(1, keepdim=True).relu()
    ours = normgrad_map(x, g, extract="scaling", aggregate="positive_sum")
    assert (ours < cam).all()
    torch.testing.assert_close(ours, (cam + (g.clamp(max=0) * x).sum(1, keepdim=True)).relu())


def test_memory_does_not_grow_with_the_summands():
    x = torch.randn(1, 64, 8, 8)
    summands = virtual_identity(x, x, "conv3x3")
    assert summands.gradient.data_ptr() == x.data_ptr()
    assert summands.activation is not None
    assert summands.activation.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("name", ["conv2x2", "conv3x5", "conv3", "layers", "depthwise", "", "conv0x0", 3, None])
def test_unknown_extract(name):
    with pytest.raises(ValueError, match="Unknown extract"):
        normgrad_map(torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3), extract=name)


def test_unknown_aggregate():
    with pytest.raises(ValueError, match="'positive_norm'"):
        normgrad_map(torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3), aggregate="mean")


def test_window_needs_space():
    with pytest.raises(ValueError, match="spatial"):
        normgrad_map(torch.rand(1, 2), torch.rand(1, 2), extract="conv3x3")


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_summands_in_half_precision_are_refused(aggregate):
    half = torch.rand(1, 2, 3, 3).half()
    with pytest.raises(TypeError, match=r"float32 or float64, not torch\.float16"):
        AGGREGATES[aggregate](Summands(half, half))


@pytest.mark.parametrize("power", [-30, 30])
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_derivatives_are_right_where_squares_are_not(aggregate, power):
    # By the activation a map scales with the gradient, by the gradient not at all.
    x, g = torch.randn(2, 1, 3, 4, 4, dtype=torch.float64)
    g *= 10.0**power
    derivatives = []
    for dtype in (torch.float32, torch.float64):
        leaves = [t.to(dtype).requires_grad_() for t in (x, g)]
        total = normgrad_map(*leaves, aggregate=aggregate).sum()
        derivatives.append([d.double() for d in torch.autograd.grad(total, leaves)])
    for found, expected in zip(*derivatives, strict=True):
        assert ((found - expected).abs().max() / expected.abs().max()).item() < 1e-5


def test_summands_of_nothing():
    with pytest.raises(ValueError, match="give an activation, or bias=True"):
        Summands(torch.rand(1, 2, 3, 3))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="same shape"):
        normgrad_map(torch.rand(1, 2, 3), torch.rand(1, 2, 4))
