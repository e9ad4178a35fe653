"""The pass gives what naive hooks in a fully recorded forward give, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections import namedtuple

import pytest
import torch
import torch._dynamo  # which checkpoint would import in the middle of a pass, whose frames would live on
from models import SIZE, Net, build, each_kind, images, plain, refused, saved_for_backward, untouched
from torch import nn
from torch.utils.checkpoint import checkpoint

from normgrad_attr import NormGrad
from normgrad_attr._capture import capture

LAYERS = ["conv1", "bn", "relu1", "block.0", "block.1", "block"]


def count_saved(run) -> list[torch.Size]:
    with saved_for_backward() as saved:
        run()
    return [shape for shape, _ in saved if shape is not None]


@each_kind
@pytest.mark.parametrize("layer_input", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_next_to_in_place_operations(kind, name, layer_input):
    net, x = Net().eval(), images()
    layer = net.get_submodule(name)
    expected = plain(kind, lambda: net(x.clone().requires_grad_())[:, 2], [layer], SIZE, layer_input)
    with untouched(net, x):
        actual = build(kind, net, name).attribute(x, 2, attribute_to_layer_input=layer_input)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("layer_input", [False, True])
def test_nested_and_repeated_layers_in_any_order(layer_input):
    net, x = Net().eval(), images()
    names = ["block", "conv1", "block.0", "block.1", "relu1", "conv1", "block"]
    layers = [net.get_submodule(n) for n in names]
    expected = plain("single", lambda: net(x.clone().requires_grad_())[:, 1], layers, SIZE, layer_input)
    with untouched(net, x):
        actual = NormGrad(net, names).attribute(x, 1, attribute_to_layer_input=layer_input)
    assert len(actual) == len(names)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e)


class Branches(nn.Module):
    """Two branches from one tensor, one of them begun before the other, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.join = nn.ReLU()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        first = self.left(x)
        return self.head(self.join(first * self.right(x) + x).mean((2, 3)))


@each_kind
@pytest.mark.parametrize("layer_input", [False, True])
@pytest.mark.parametrize(
    "names", [["left"], ["right"], ["left", "right"], ["right", "left", "stem"], ["join", "right"]]
)
@pytest.mark.parametrize("frozen", [False, True])
def test_parallel_branches(kind, names, layer_input, frozen):
    net, x = Branches().eval().requires_grad_(not frozen), images()
    layers = [net.get_submodule(n) for n in names]
    truth = copy.deepcopy(net).requires_grad_()
    expected = plain(
        kind,
        lambda: truth(x.clone().requires_grad_())[:, 0],
        [truth.get_submodule(n) for n in names],
        SIZE,
        layer_input,
    )
    with untouched(net, x):
        actual = build(kind, net, *layers).attribute(x, 0, attribute_to_layer_input=layer_input)
    torch.testing.assert_close(actual, expected)


class AddedInPlace(nn.Module):
    """``x += branch(x)``, as many transformers write it: the layer's input, or what Identity gives, is overwritten."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem, self.layer, self.behind = nn.Conv2d(3, 4, 1), layer, nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        x += self.behind(self.layer(x)).tanh()
        return x.square().mean((2, 3))


@each_kind
@pytest.mark.parametrize("layer_input", [False, True])
@pytest.mark.parametrize(
    "layer",
    [nn.Identity(), nn.Dropout(), nn.Flatten(0, 0), nn.Conv2d(4, 4, 1), nn.ReLU()],
    ids=lambda m: type(m).__name__,
)
def test_a_tensor_that_is_overwritten_later(kind, layer, layer_input):
    net, x = AddedInPlace(layer).eval(), images()
    handed_on = layer_input or not isinstance(layer, (nn.Conv2d, nn.ReLU))  # the layer's tensor feeds the skip too

    # The truth out of place, x a leaf. All that uses the layer's tensor counts, as with Captum.
    leaf = net.stem(x).detach().requires_grad_()
    if handed_on:
        out = leaf + net.behind(layer(leaf)).tanh()
        kept = leaf
    else:
        kept = layer(leaf).detach().requires_grad_()
        out = leaf + net.behind(kept).tanh()
    (g,) = torch.autograd.grad(out.square().mean((2, 3))[:, 1].sum(), kept)
    expected = kept.detach().norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True)

    with untouched(net, x):
        maps = NormGrad(net, "layer").attribute(x, 1, attribute_to_layer_input=layer_input)
    torch.testing.assert_close(maps, expected)
    if kind == "combined":
        from normgrad_attr.functional import combine_maps

        actual = build(kind, net, "layer").attribute(x, 1, attribute_to_layer_input=layer_input)
        torch.testing.assert_close(actual, combine_maps([expected], SIZE))


def test_nothing_before_the_earliest_layer_is_recorded():
    net, x = Net().eval(), images()
    saved = count_saved(lambda: NormGrad(net, "block").attribute(x, 0))
    assert saved
    assert not any(shape[-2:] == (12, 12) for shape in saved)
    assert torch.Size([2, 5, 12, 12]) in count_saved(lambda: NormGrad(net, ["block", "conv1"]).attribute(x, 0))


def test_one_forward_and_one_backward_for_any_number_of_layers():
    net, x = Net().eval(), images()
    calls = []
    net.register_forward_hook(lambda *_: calls.append("forward"))
    backward = torch.autograd.grad

    def counted(*args, **kwargs):
        calls.append("backward")
        return backward(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", counted)
        NormGrad(net, ["conv1", "relu1", "block.0", "block"]).attribute(x, 0)
    assert calls == ["forward", "backward"]


class Moded(nn.Module):
    """The layer, or all up to it, or what follows runs in a grad-mode context of the model's own."""

    def __init__(self, where: str, context) -> None:
        super().__init__()
        self.net, self.where, self.context = Net(), where, context

    def within(self, *places: str):
        return self.context() if self.where in places else contextlib.nullcontext()

    def forward(self, x):
        with self.within("everything"):
            with self.within("before", "up to"):
                x = self.net.relu1(self.net.bn(self.net.conv1(x)))
                if self.where == "up to":
                    x = self.net.block(x)
            if self.where != "up to":
                with self.within("around"):
                    x = self.net.block(x)
            return self.net.head(x.mean((2, 3)))


@each_kind
@pytest.mark.parametrize("outer", [torch.enable_grad, torch.no_grad])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("where", ["before", "up to", "around", "everything"])
@pytest.mark.parametrize("layer", ["net.block", "net.block.0"])
def test_enable_grad_inside_the_model(kind, where, frozen, outer, layer):
    model, x = Moded(where, torch.enable_grad).eval(), images()
    expected = plain(kind, lambda: model(x)[:, 0], [model.get_submodule(layer)], SIZE)
    model.requires_grad_(not frozen)
    with outer(), untouched(model, x):
        actual = build(kind, model, layer).attribute(x, 0)
    torch.testing.assert_close(actual, expected)


@each_kind
def test_no_grad_before_the_layer_inside_the_model(kind):
    model, x = Moded("before", torch.no_grad).eval(), images()
    expected = plain(kind, lambda: model(x)[:, 0], [model.net.block], SIZE)
    with untouched(model, x):
        actual = build(kind, model, "net.block").attribute(x, 0)
    torch.testing.assert_close(actual, expected)


@each_kind
@pytest.mark.parametrize("where", ["up to", "around", "everything"])
def test_no_grad_around_the_layer_inside_the_model_is_explained(kind, where):
    model, x = Moded(where, torch.no_grad).eval(), images()
    message = r"Layer 'net\.block' \(Sequential\) ran, but the target does not depend on it \(or the model detaches it"
    for layers in (["net.block"], ["net.conv1", "net.block"]):
        method = NormGrad(model, layers) if kind == "single" else build(kind, model, *layers)
        with refused(model, x, error=RuntimeError, match=message if len(layers) == 1 else "ran, but"):
            method.attribute(x, 0)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1))
        self.last = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(4, 3)
        self.active = True

    def forward(self, x):
        x = self.stem(x)
        x = checkpoint(self.block, x, use_reentrant=self.reentrant) if self.active else self.block(x)
        return self.head(self.last(x).mean((2, 3)))


@pytest.mark.filterwarnings("ignore:.torch.cpu.amp.autocast")  # by torch 2.4's own checkpoint
@each_kind
@pytest.mark.parametrize(
    "layers", [["stem"], ["block"], ["block.0"], ["block.1"], ["last"], ["block.1", "stem", "last"]]
)
def test_checkpointed_blocks(kind, layers):
    model, x = Checkpointed(reentrant=False).eval(), images()
    model.active = False
    expected = plain(kind, lambda: model(x)[:, 0], [model.get_submodule(n) for n in layers], SIZE)
    model.active = True
    with untouched(model, x):
        actual = build(kind, model, *layers).attribute(x, 0)
    torch.testing.assert_close(actual, expected)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's own, in every such inference
@each_kind
def test_blocks_checkpointed_the_reentrant_way(kind):
    model, x = Checkpointed(reentrant=True).eval(), images()
    model.active = False
    expected = plain(kind, lambda: model(x)[:, 0], [model.last], SIZE)
    model.active = True
    with untouched(model, x):
        torch.testing.assert_close(build(kind, model, "last").attribute(x, 0), expected)
    with refused(model, x, error=RuntimeError, match="(?i)checkpoint.*compatible with .grad"):
        build(kind, model, "stem").attribute(x, 0)
    with refused(model, x, error=RuntimeError, match=r"'block\.0' \(Conv2d\) ran, but the target does not"):
        build(kind, model, "block.0").attribute(x, 0)


class Several(nn.Module):
    def __init__(self, container) -> None:
        super().__init__()
        self.container, self.conv = container, nn.Conv2d(3, 4, 1)

    def forward(self, x):
        y = self.conv(x)
        return self.container([y, y[:, :2, ::2, ::2].tanh()])


Pair = namedtuple("Pair", "fine coarse")


@pytest.mark.parametrize("container", [tuple, list, lambda ts: Pair(*ts)], ids=["tuple", "list", "namedtuple"])
def test_layers_with_several_output_tensors(container):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.split, self.head = Several(container), nn.Linear(6, 3)

        def forward(self, x):
            both = self.split(x)
            assert type(both) is type(container([0, 1]))
            fine, coarse = (both.fine, both.coarse) if isinstance(both, Pair) else both
            return self.head(torch.cat([fine.square().mean((2, 3)), coarse.square().mean((2, 3))], 1))

    model, x = Model().eval(), images()
    with untouched(model, x):
        maps = NormGrad(model, "split").attribute(x, 1)
    # The second output is made of the first, whose gradient counts that as well, as with Captum.
    y = model.split.conv(x).detach().requires_grad_()
    z = y[:, :2, ::2, ::2].tanh()
    score = model.head(torch.cat([y.square().mean((2, 3)), z.square().mean((2, 3))], 1))[:, 1]
    for m, t, g in zip(maps, (y, z), torch.autograd.grad(score.sum(), (y, z)), strict=True):
        torch.testing.assert_close(m, (t.norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True)).detach())
    assert isinstance(maps, tuple)
    (listed,) = NormGrad(model, ["split"]).attribute(x, 1)
    torch.testing.assert_close(listed, maps)
    with refused(model, x, error=ValueError, match=r"'split' \(Several\) has 2 tensors.*choose a"):
        build("combined", model, "split").attribute(x, 1)


@each_kind
def test_several_inputs_and_arguments_that_are_no_tensors(kind):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, a, b, scale, flip, nothing):
            assert nothing is None
            x = a + scale * b
            return self.net(x.flip(1) if flip else x)

    model, a, b = Model().eval(), images(), images()
    expected = plain(kind, lambda: model(a, b, 0.5, True, None)[:, 3], [model.net.block], SIZE)
    with untouched(model, a, b):
        actual = build(kind, model, "net.block").attribute((a, b), 3, additional_forward_args=(0.5, True, None))
    if kind == "single":  # the layer has one tensor
        torch.testing.assert_close(actual, expected)
    else:  # input-shaped: one map for each input
        assert isinstance(actual, tuple)
        assert len(actual) == 2
        torch.testing.assert_close(actual, (expected, expected))


@each_kind
@pytest.mark.parametrize("layer_input", [False, True])
def test_inputs_that_require_grad(kind, layer_input):
    net = Net().eval()
    x = images().requires_grad_()
    expected = plain(kind, lambda: net(x)[:, 2], [net.block], SIZE, layer_input)
    with untouched(net, x):
        actual = build(kind, net, "block").attribute(x, 2, attribute_to_layer_input=layer_input)
    torch.testing.assert_close(actual, expected)
    assert not actual.requires_grad
    derived = images().requires_grad_() * 2  # part of a graph of the user's
    build(kind, net, "conv1").attribute(derived, 2)
    derived.sum().backward()


@pytest.mark.parametrize("extract", ["conv1x1", "layer"])
def test_maps_are_detached_and_hold_no_graph(extract):
    net, x = Net().eval(), images().requires_grad_()
    with untouched(net, x):
        for m in NormGrad(net, ["conv1", "block.0"], extract=extract).attribute(x, 0):
            assert m.grad_fn is None
            assert not m.requires_grad


def test_activations_are_freed_without_the_garbage_collector():
    net, x = Net().eval(), images()
    alive = []
    net.block.register_forward_hook(lambda m, a, out: alive.append(weakref.ref(out)))
    with untouched(net, x):
        maps = NormGrad(net, ["conv1", "block"]).attribute(x, 0)
        assert maps
        assert [ref() for ref in alive] == [None]


def test_hooks_of_the_users_own_see_and_change_what_the_layer_gives():
    net, x = Net().eval(), images()
    plain_map = NormGrad(net, "block").attribute(x, 0)
    net.block.register_forward_hook(lambda m, a, out: 2 * out)
    with untouched(net, x):
        doubled = NormGrad(net, "block").attribute(x, 0)
    torch.testing.assert_close(doubled, 2 * plain_map)


@each_kind
def test_the_autocast_cache_is_not_left_with_weights_cut_from_the_graph(kind):
    net, x = Net(), images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        build(kind, net.eval(), "block").attribute(x, 0)
        net(x).float().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_capture_returns_what_each_layer_did_once_for_each_time_it_is_listed():
    net, x = Net().eval(), images()
    (one,), (two,), (again,) = capture(net, [net.block, net.conv1, net.block], x, 0, keep_layer_input=True).layers
    torch.testing.assert_close(one.activations[0], net.features(x))
    torch.testing.assert_close(two.inputs, x)
    assert two.inputs is not x
    assert again is one
    assert not any(t.requires_grad for c in (one, two) for t in (*c.activations, *c.gradients, c.inputs))
