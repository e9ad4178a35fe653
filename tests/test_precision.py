"""Other precisions, and derivatives of maps: the right map or a sentence, and nothing changed afterwards."""

from __future__ import annotations

import pytest
import torch
from models import ROUNDING, SIZE, Net, build, each_kind, images, plain, untouched
from torch import Tensor, nn

from normgrad_attr import NormGrad
from normgrad_attr.functional import normgrad_map

# Precision


@each_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(kind, dtype):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    with untouched(net, x), torch.autocast("cpu", dtype=dtype):
        actual = build(kind, net, "block").attribute(x, 0)
        assert torch.is_autocast_enabled("cpu")
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0.1, atol=0.05 * float(expected.max()))
    with torch.autocast("cpu", dtype=dtype):
        same = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    torch.testing.assert_close(actual, same, rtol=1e-3, atol=1e-3 * float(expected.max()))


@each_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(kind, dtype):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    net, x = net.to(dtype), x.to(dtype)
    with untouched(net, x):
        actual = build(kind, net, "block").attribute(x, 0)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.float(), expected, rtol=0.1, atol=0.05 * float(expected.max()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_are_accumulated_in_float32(dtype):
    # Squared, these under- or overflow float16; 2048 ones cannot be counted in bfloat16.
    x, g = torch.full((1, 2048, 2, 2), 300.0, dtype=dtype), torch.full((1, 2048, 2, 2), 2**-20, dtype=dtype)
    expected = 2048 * 300 * float(g[0, 0, 0, 0])
    actual = normgrad_map(x, g)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.float(), torch.full((1, 1, 2, 2), expected), rtol=4e-3, atol=0)


@each_kind
def test_half_precision_model_in_the_middle_of_a_float32_one(kind):
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net().bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.bfloat16()).float()

    model, x = Mixed().eval(), images()
    with untouched(model, x):
        assert build(kind, model, "net.block").attribute(x, 0).dtype == torch.float32


# Double backward


def smooth_net() -> nn.Sequential:
    """Smooth, so that finite differences converge."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 2), nn.Sigmoid(), nn.Flatten(), nn.Linear(27, 2)
    ).double().eval()  # fmt: skip


@each_kind
@pytest.mark.parametrize("layer_input", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_double_backward_by_inputs(kind, layer_input, frozen):
    net = smooth_net().requires_grad_(not frozen)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    method = build(kind, net, "1") if kind == "single" else build(kind, net, "1", "3")

    def maps(t: Tensor) -> Tensor:
        return method.attribute(t, 1, attribute_to_layer_input=layer_input, grad_kwargs={"create_graph": True})

    assert torch.autograd.gradcheck(maps, (x,), nondet_tol=ROUNDING)


@each_kind
def test_double_backward_by_weights(kind):
    net = smooth_net()
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    method = build(kind, net, "1") if kind == "single" else build(kind, net, "1", "3")
    weights = [p for p in net.parameters() if p.dim() > 1]
    direction = [torch.randn_like(w) for w in weights]

    def loss() -> Tensor:
        return method.attribute(x, 1, grad_kwargs={"create_graph": True}).square().sum()

    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(loss(), weights), direction, strict=True))
    values = []
    for sign in (1, -2, 1):
        with torch.no_grad():
            for w, d in zip(weights, direction, strict=True):
                w += sign * 1e-6 * d
        values.append(loss().item())
    torch.testing.assert_close(float(slope), (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-8)


def test_third_derivatives():
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)).double().eval()
    x = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)

    def maps(t: Tensor) -> Tensor:
        return NormGrad(net, "1").attribute(t, 1, grad_kwargs={"create_graph": True})

    assert torch.autograd.gradgradcheck(maps, (x,))


@each_kind
def test_double_backward_is_finite_where_activations_and_gradients_are_zero(kind):
    net, x = Net().eval(), images()
    layers = ["relu1", "block"] if kind == "combined" else ["block"]
    maps = build(kind, net, *layers).attribute(x, 0, grad_kwargs={"create_graph": True})
    assert (net.features(x).norm(dim=1) == 0).any() or (net.features(x) == 0).any()
    maps.sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), name
    assert net.conv1.weight.grad.any()
