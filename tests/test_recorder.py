"""A graph that begins at the first layer gives what one recorded from the beginning gives, whatever the network."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from captum.attr import LayerGradientXActivation
from models import Net, build, each_kind, images, plain, untouched
from recorded import MODULES, Keeps, Pair, naive_hooks
from torch import Tensor, nn

from normgrad_attr import NormGrad


def forwards(net: nn.Module) -> list[None]:
    calls: list[None] = []
    net.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


class Skip(nn.Module):
    """A decoder that takes the encoder's features from where a hook or the layer itself left them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem, self.layer, self.behind = nn.Conv2d(3, 4, 1), layer, nn.Conv2d(4, 4, 3, padding=1)
        self.features: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(self.stem(x))
        skipped = self.features.pop() if self.features else self.layer.own
        return (self.behind(y).tanh() * skipped).mean((2, 3))


@each_kind
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("by", ["layer", "hook"])
def test_an_output_that_takes_a_second_way(kind: str, by: str, frozen: bool) -> None:
    net, x = Skip(Keeps(4, 4, 1)).eval().requires_grad_(not frozen), images()
    if by == "hook":
        net.layer.register_forward_hook(lambda m, a, out: net.features.append(out))
    y = net.layer(net.stem(x)).detach().requires_grad_()
    net.features.clear()
    (g,) = torch.autograd.grad((net.behind(y).tanh() * y).mean((2, 3))[:, 1].sum(), y)
    expected = y.detach().norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True)
    calls = forwards(net)
    with untouched(net, x):
        found = build(kind, net, "layer").attribute(x, 1)
        assert not net.layer.own.requires_grad
        del net.layer.own
        net.layer.own = None
    assert len(calls) == 1
    if kind == "single":
        torch.testing.assert_close(found, expected)
    else:
        from normgrad_attr.functional import combine_maps

        torch.testing.assert_close(found, combine_maps([expected], (12, 12)))


class Position(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(1, 3, 12, 12))

    def forward(self) -> Tensor:
        return self.map


class Positioned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position, self.net = Position(), Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + self.position())


@pytest.mark.parametrize("frozen", [False, True])
def test_a_layer_that_returns_its_own_weight(frozen: bool) -> None:
    net, x = Positioned().eval().requires_grad_(not frozen), images()
    shifted = (x + net.position.map).detach().requires_grad_()
    (g,) = torch.autograd.grad(net.net(shifted)[:, 0].sum(), shifted)
    expected = net.position.map.detach().norm(dim=1, keepdim=True) * g.sum(0, keepdim=True).norm(dim=1, keepdim=True)
    with untouched(net, x):
        torch.testing.assert_close(NormGrad(net, "position", channel_dim=1).attribute(x, 0), expected)


@pytest.mark.parametrize("name", ["relu_ ignored", "dropout_", "last of", "identity"])
def test_tensors_that_are_used_elsewhere_too(name: str) -> None:
    first = MODULES[name](4)

    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.layer, self.side = nn.Conv2d(3, 4, 1), first, nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            before = self.side(x)
            out = self.layer([x, x] if name == "last of" else x)
            return (before * x * out).mean((2, 3))

    net, x = Elsewhere().eval().requires_grad_(False), images()
    h = net.stem(x)
    y = (h.relu() if name == "relu_ ignored" else h).requires_grad_()
    before = net.side(h) if name == "relu_ ignored" else net.side(y)  # of another value, or of the very tensor
    (g,) = torch.autograd.grad((before * y * y).mean((2, 3))[:, 2].sum(), y)
    with untouched(net, x):
        found = NormGrad(net, "layer").attribute(x, 2)
    torch.testing.assert_close(found, y.detach().norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("before", [False, True])
def test_outputs_of_one_layer_that_depend_on_each_other(before: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pair = nn.Conv2d(3, 4, 1), Pair(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y, z = self.pair(self.stem(x))
            return (y.square() * z).mean((2, 3))

    net, x = Model().eval(), images()
    theirs = LayerGradientXActivation(net, net.pair).attribute(x, 1)
    layers = [net.stem, net.pair] if before else [net.pair]
    with untouched(net, x):
        ours = NormGrad(net, layers, extract="scaling", aggregate="sum").attribute(x, 1)[-1]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.sum(1, keepdim=True).detach())
    recorded = NormGrad(net, layers, extract="scaling", aggregate="sum").attribute(
        x, 1, grad_kwargs={"create_graph": True}
    )
    torch.testing.assert_close(ours, tuple(m.detach() for m in recorded[-1]))


def test_views_taken_before_the_graph_begins_and_overwritten_behind() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.layer, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(2, 2, 1), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            a, b = x.chunk(2, 1) if self.training else (x[:, :2], x[:, 2:])
            a += self.layer(b).tanh()
            return self.head(x.square().mean((2, 3)))

    net, x = Halves().eval(), images()
    h = net.stem(x).detach()
    y = net.layer(h[:, 2:]).detach().requires_grad_()
    out = torch.cat([h[:, :2] + y.tanh(), h[:, 2:]], 1)
    (g,) = torch.autograd.grad(net.head(out.square().mean((2, 3)))[:, 1].sum(), y)
    with untouched(net, x):
        found = NormGrad(net, "layer").attribute(x, 1)
    torch.testing.assert_close(found, y.detach().norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("layer", ["layers.0", "layers.0.linear1", "layers.1.norm2", "layers.1.dropout1"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:enable_nested_tensor is True")
def test_torchs_own_transformer_whose_fast_path_calls_no_layers(layer: str, frozen: bool, masked: bool) -> None:
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder, head = nn.TransformerEncoder(block, 2).eval().requires_grad_(not frozen), nn.Linear(8, 3)
    x = torch.randn(2, 5, 8)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2]) if masked else None

    def forward(tokens: Tensor) -> Tensor:
        return head(encoder(tokens, src_key_padding_mask=mask)[:, :3].mean(1))

    module = encoder.get_submodule(layer)
    kept: dict[nn.Module, list[Any]] = {}
    with naive_hooks([module], kept):
        score = forward(x.clone().requires_grad_())[:, 1].sum()
    ((value, edge),) = kept[module]
    (g,) = torch.autograd.grad(score, [edge])
    expected = value.norm(dim=-1) * g.norm(dim=-1)
    with untouched(encoder, x):
        found = NormGrad(forward, module, channel_dim=-1).attribute(x, 1)
    torch.testing.assert_close(found[:, 0], expected)


def test_a_value_that_the_layer_works_out_and_keeps() -> None:
    """Its own backward needs what the layer made before it was left, so the pass is made again."""

    class Gated(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            self.own = y.sigmoid()
            return y

    net, x = Skip(Gated(4, 4, 1)).eval(), images()
    expected = plain("single", lambda: net(x)[:, 1], [net.layer], (12, 12))
    calls = forwards(net)
    torch.testing.assert_close(NormGrad(net, "layer").attribute(x, 1), expected)
    assert len(calls) == 2


# Threads


def test_what_another_thread_does_with_the_model_meanwhile_is_not_recorded() -> None:
    net, x, other = Net().eval(), images(), images(3)
    expected = NormGrad(net, ["conv1", "block"]).attribute(x, 1)
    with torch.no_grad():
        truth = net(other)
    seen: list[tuple[Tensor, bool]] = []

    def infer() -> None:
        with torch.no_grad():
            seen.append((net(other), torch.is_grad_enabled()))

    def meanwhile(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=infer)
            thread.start()
            thread.join()

    for layer in (net.conv1, net.bn):  # before the first layer was left, and behind it
        layer.register_forward_pre_hook(meanwhile)
    with untouched(net, x):
        found = NormGrad(net, ["conv1", "block"]).attribute(x, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert len(seen) == 2
    for output, recording in seen:
        assert not recording
        assert not output.requires_grad
        torch.testing.assert_close(output, truth, rtol=0, atol=0)


def test_several_threads_may_attribute_with_one_model() -> None:
    net = Net().eval()
    batches = [images() for _ in range(24)]
    method = NormGrad(net, ["conv1", "block"])
    expected = [method.attribute(x, 1) for x in batches]
    with untouched(net), ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: method.attribute(x, 1), batches))
    torch.testing.assert_close(found, expected)


def test_a_layer_that_runs_in_a_thread_of_the_models_own() -> None:
    net, x = Net().eval(), images()

    def threaded(t: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(net, t).result()

    with pytest.raises(ValueError, match=r"Layer Conv2d ran in another thread.*pass device_ids"):
        NormGrad(threaded, net.conv1).attribute(x, 1)


# Memory


@each_kind
@pytest.mark.parametrize("options", [{}, {"attribute_to_layer_input": True}, {"grad_kwargs": {"create_graph": True}}])
def test_no_reference_cycles(kind: str, options: dict[str, Any]) -> None:
    net, x = Net().eval(), images()
    method = build(kind, net, "conv1", "block")
    method.attribute(x, 1, **options)
    gc.collect()
    gc.disable()
    try:
        method.attribute(x, 1, **options)
        assert gc.collect() == 0
    finally:
        gc.enable()
