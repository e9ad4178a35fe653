"""What is still known of channels and places behind operations that the graph says nothing of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from layouts import Does, layout_of
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad


class Reversed(torch.autograd.Function):
    """Gradient reversal."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return -grad


@pytest.mark.parametrize("name", ["Transpose", "Flip", "Roll", "Mean", "AccumulateGrad", "Gather"])
def test_a_function_named_like_one_of_torchs_is_not_taken_for_it(name: str) -> None:
    own = type(name, (Reversed,), {})
    first, last, x = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), torch.rand(2, 3, 12, 16)
    found, expected = (
        CombinedNormGrad(lambda x, f=f: last(f(first(x))).tanh().mean((2, 3)), [last]).attribute(x, 1)
        for f in (own.apply, Reversed.apply)
    )
    torch.testing.assert_close(found, expected)


class Quarter(nn.Module):
    """Looks at one place behind some operation on the lower right quarter, pixel (16, 16)."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.first, self.last = nn.Conv2d(3, 6, 1), nn.Sequential(nn.Conv2d(6, 6, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.change(self.first(x)[:, :, 16:, 16:]))[:, :2, 0, 0]
        return result


@pytest.mark.parametrize(
    "change",
    [
        Reversed.apply,
        lambda t: t @ torch.eye(16).flip(0),
        lambda t: t.topk(8, -1)[0],
        lambda t: torch.masked_select(t, torch.ones_like(t, dtype=torch.bool)).view(t.shape),
    ],
)
def test_a_part_of_the_input_is_not_taken_for_all_of_it(change: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"'last'.*(moved around|not known how its)"):
        CombinedNormGrad(Quarter(change), ["last"]).attribute(torch.rand(1, 3, 32, 32), 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + x.mT,
        lambda x: x + x.transpose(1, 2),
        lambda x: x.mean(3).unflatten(1, (2, 4)),  # channels and rows for rows and columns
        lambda x: F.avg_pool2d(x.repeat_interleave(2, 1).flatten(2)[:, None], 2),
        lambda x: x[:, 0].unflatten(1, (2, 4)),
    ],
)
def test_dimensions_of_the_input_are_not_taken_for_others(change: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(2, 8, 8, 8)
    conv = nn.Conv2d(change(x).shape[1], 4, 1)
    net = Does(lambda net, x: net.conv(change(x)).tanh().mean((2, 3)), conv=conv)
    with pytest.raises(ValueError, match=r"'conv'.*(moved around|not known how its)"):
        CombinedNormGrad(net, ["conv"]).attribute(x, 1)


def test_places_behind_a_mean_over_the_channels_are_laid_out() -> None:
    net = Does(lambda net, x: net.conv(x.mean(1, keepdim=True)).tanh().mean((2, 3)), conv=nn.Conv2d(1, 4, 1))
    x = torch.rand(1, 3, 6, 8)
    (found,) = CombinedNormGrad(net, ["conv"]).attribute(x, 1)
    (expected,) = NormGrad(net, "conv").attribute(x, 1)
    torch.testing.assert_close(found, (expected - expected.min()) / (expected.max() - expected.min()))


def test_a_backward_hook_hides_nothing() -> None:
    model, x = Quarter(torch.tanh).eval(), torch.rand(1, 3, 32, 32)
    expected = CombinedNormGrad(model, ["first", "last"]).attribute(x, 1)
    assert int(CombinedNormGrad(model, ["last"]).attribute(x, 1).argmax()) == 16 * 32 + 16
    for module in model.modules():
        module.register_full_backward_hook(lambda *args: None)
    torch.testing.assert_close(CombinedNormGrad(model, ["first", "last"]).attribute(x, 1), expected)


@pytest.mark.parametrize(("kernel", "padding", "stride"), [(1, 8, 1), (3, 16, 1), (3, 4, 1), (3, 16, 2)])
def test_a_convolutions_own_padding_lies_where_padding_before_it_does(kernel: int, padding: int, stride: int) -> None:
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    weight = torch.randn(4, 3, kernel, kernel)
    features = F.conv2d(x, weight, stride=stride, padding=padding)
    own, before = layout_of(features), layout_of(F.conv2d(F.pad(x, [padding] * 4), weight, stride=stride))
    maps = torch.rand(2, 1, *features.shape[2:])
    torch.testing.assert_close(own.laid_out(maps, None, 2), before.laid_out(maps, None, 2))
    if kernel == stride == 1:
        assert torch.equal(own.laid_out(maps, None, 2), maps[..., padding:-padding, padding:-padding])


@pytest.mark.parametrize("size", [31, 32, 33])
@pytest.mark.parametrize(("kernel", "padding", "stride"), [(3, 1, 2), (7, 3, 2), (2, 1, 1), (1, 0, 2), (4, 1, 2)])
def test_padding_that_windows_need_moves_nothing(kernel: int, padding: int, stride: int, size: int) -> None:
    x = torch.rand(1, 3, size, size, requires_grad=True)
    features = F.conv2d(x, torch.randn(4, 3, kernel, kernel), stride=stride, padding=padding)
    maps = torch.rand(1, 1, *features.shape[2:])
    assert torch.equal(layout_of(features).laid_out(maps, None, 2), maps)


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "mse": lambda y: F.mse_loss(y, torch.zeros_like(y)),
    "cross entropy": lambda y: -F.cross_entropy(y, torch.tensor([1])),
    "norm": lambda y: y.norm(),
    "std": lambda y: y.std(),
    "linalg": torch.linalg.vector_norm,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_score_of_no_dimensions_is_explained(loss: str) -> None:
    layer, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
    x = torch.rand(1, 3, 8, 8)
    features = layer(x)
    (g,) = torch.autograd.grad(LOSSES[loss](head(features.tanh().mean((2, 3)))), features)
    expected = g.norm(dim=1, keepdim=True) * features.detach().norm(dim=1, keepdim=True)
    found = NormGrad(lambda x: LOSSES[loss](head(layer(x).tanh().mean((2, 3)))), layer).attribute(x)
    torch.testing.assert_close(found, expected)
