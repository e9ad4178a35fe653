"""Traps that modules, targets and inputs set: the right map or a sentence, and nothing changed afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from models import SIZE, Net, build, each_kind, images, plain, refused, untouched
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad

# Modules that are used in other ways than once, in the forward, with tensors


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.relu, self.spare = nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.second(self.relu(self.first(x))))
        self.unused = self.head(y.mean((2, 3))).detach()
        return self.head(y.mean((2, 3)))


@each_kind
@pytest.mark.parametrize("layer_input", [False, True])
def test_reused_module(kind, layer_input):
    model, x = Reused().eval(), images()
    model(x)
    message = r"Layer 'relu' \(ReLU\) ran more than once in one forward pass.*a module of its own"
    with refused(model, x, error=RuntimeError, match=message):
        build(kind, model, "second", "relu").attribute(x, 0, attribute_to_layer_input=layer_input)


@each_kind
def test_block_around_a_reused_module(kind):
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Reused()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    model, x = Outer().eval(), images()
    expected = plain(kind, lambda: model(x)[:, 0], [model.inner.second], SIZE)
    torch.testing.assert_close(build(kind, model, "inner.second").attribute(x, 0), expected)


@each_kind
def test_layer_that_never_ran(kind):
    model, x = Reused().eval(), images()
    model(x)
    with refused(model, x, error=RuntimeError, match=r"Layer 'spare' \(ReLU\) did not run.*choose a layer that"):
        build(kind, model, "first", "spare").attribute(x, 0)
    stranger = nn.Conv2d(3, 3, 1)
    with refused(model, x, error=RuntimeError, match=r"Layer Conv2d did not run"):
        build(kind, model, stranger).attribute(x, 0)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.aside, self.behind = Net(), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.aside(x)
        return self.net(x) + 0 * self.behind(x).detach().mean()


@each_kind
@pytest.mark.parametrize("name", ["aside", "behind"])
def test_layer_that_ran_but_is_unused(kind, name):
    model, x = Unused().eval(), images()
    message = rf"'{name}' \(Conv2d\) ran, but the target does not depend on it.*materialize_grads"
    for layers in ([name], ["net.block", name]):
        with refused(model, x, error=RuntimeError, match=message):
            build(kind, model, *layers).attribute(x, 0)


def test_an_unused_part_of_what_a_layer_gives_is_named():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.GRU(5, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x)[0].mean(1))

    model, x = Recurrent().eval(), torch.rand(2, 7, 5)
    with refused(model, x, error=RuntimeError, match=r"'layer' \(GRU\) ran.*on tensor 1 .* of the 2 that it gives"):
        NormGrad(model, "layer").attribute(x, 0)
    steps, last = NormGrad(model, "layer").attribute(x, 0, grad_kwargs={"materialize_grads": True})
    assert (steps.shape, steps.any().item(), last.any().item()) == ((2, 1, 7), True, False)


@pytest.mark.parametrize("grad_kwargs", [{"materialize_grads": True}, {"allow_unused": True}])
def test_unused_layer_gives_zeros_if_asked_for(grad_kwargs):
    model, x = Unused().eval(), images()
    expected = plain("single", lambda: model(x)[:, 0], [model.net.block], SIZE)
    with untouched(model, x):
        zeros, used = NormGrad(model, ["aside", "net.block"]).attribute(x, 0, grad_kwargs=grad_kwargs)
    assert zeros.shape == (2, 1, 10, 10)
    assert not zeros.any()
    torch.testing.assert_close(used, expected)
    with pytest.warns(UserWarning, match="is constant for 2 of 2 samples"):
        combined = CombinedNormGrad(model, ["aside", "net.block"]).attribute(x, 0, grad_kwargs=grad_kwargs)
    # What is left is the other layer's map, to the power of its weight.
    alone = CombinedNormGrad(model, ["net.block"], weights=[0.5]).attribute(x, 0)
    torch.testing.assert_close(combined, alone)


@dataclass
class Data:
    maps: Tensor


class Odd(nn.Module):
    """A layer that gives what ``of`` makes of its convolution's output, in a model that uses the convolution."""

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.conv, self.odd, self.head = nn.Conv2d(3, 4, 1), nn.Module(), nn.Linear(4, 3)
        self.odd.forward = lambda x: of(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        self.odd(x)
        return self.head(x.mean((2, 3)))


@each_kind
@pytest.mark.parametrize(
    ("of", "what"),
    [
        (lambda x: {"out": x}, "dict"),
        (lambda x: Data(x), "Data"),
        (lambda x: None, "NoneType"),
        (lambda x: (x, (x, x)), "tuple"),
        (lambda x: (), "NoneType"),
        (lambda x: x > 0, r"torch\.bool"),
        (lambda x: x.argmax(1), r"torch\.int64"),
        (lambda x: x.to(torch.complex64), r"torch\.complex64"),
        (lambda x: x.to_sparse(), r"torch\.sparse_coo"),
    ],
)
def test_layer_that_does_not_give_tensors(kind, of, what):
    model, x = Odd(of).eval(), images()
    message = rf"The output of layer 'odd' \(Module\) holds a {what}, but .* floating-point tensors only; choose"
    with refused(model, x, error=TypeError, match=message):
        build(kind, model, "odd").attribute(x, 0)


@each_kind
def test_a_score_that_is_complex(kind):
    net, x = Net().eval(), images()
    with refused(net, x, error=TypeError, match=r"score is complex .* let forward_func give its .abs\(\) or .real"):
        build(kind, lambda t: net(t) * 1j, net.block).attribute(x, 0)


@each_kind
@pytest.mark.parametrize("target", [0, [0, 0], torch.tensor([0, 0]), np.array([0, 0])])
def test_another_default_device(kind, target):
    net, x = Net().eval(), images()
    expected = build(kind, net, "block").attribute(x, 0)
    with untouched(net, x), torch.device("meta"):
        found = build(kind, net, "block").attribute(x, target)
    torch.testing.assert_close(found, expected)


@each_kind
@pytest.mark.parametrize(
    "wrap", [lambda y: {"out": y}, lambda y: Data(y), lambda y: (y, y)], ids=["dict", "data", "tuple"]
)
def test_model_that_does_not_return_a_tensor(kind, wrap):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    with refused(
        net, x, error=TypeError, match=r"The model returned a \w+, not a tensor; wrap it, for example lambda x"
    ):
        build(kind, lambda t: wrap(net(t)), net.block).attribute(x, 0)
    with untouched(net, x):
        torch.testing.assert_close(build(kind, lambda t: net(t), net.block).attribute(x, 0), expected)


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(input=self.stem(input=x)).square().mean((2, 3)))


@each_kind
@pytest.mark.parametrize("extract", ["conv1x1", "layer"])
def test_layer_that_is_called_with_keywords_only(kind, extract):
    model, x = Keywords().eval(), images()
    with untouched(model, x):
        maps = build(kind, model, "layer", extract=extract).attribute(x, 0)
    if extract == "conv1x1":
        torch.testing.assert_close(maps, plain(kind, lambda: model(x)[:, 0], [model.layer], SIZE))
        message = r"Layer 'layer' \(Conv2d\) was called without positional arguments.*attribute to its output"
        with refused(model, x, error=TypeError, match=message):
            build(kind, model, "layer").attribute(x, 0, attribute_to_layer_input=True)


# Targets and inputs


@each_kind
@pytest.mark.parametrize(
    ("target", "error"),
    [
        (4, ValueError),
        (-5, ValueError),
        ((9999,) * 20, AssertionError),  # which it is too, for Captum's own tests
        ((0, 0), ValueError),
        ([0, 1, 2], ValueError),
        (torch.tensor([0, 1, 2]), ValueError),
        ([0, 9], ValueError),
        ("cat", ValueError),
        (1.5, ValueError),
        (None, ValueError),
    ],
)
def test_wrong_target(kind, target, error):
    net, x = Net().eval(), images()
    message = "with target=None the model's output" if target is None else "does not fit the model's output of shape"
    with refused(net, x, error=error, match=message):
        build(kind, net, "block").attribute(x, target)


@each_kind
@pytest.mark.parametrize(
    "target", [2, -2, (2,), torch.tensor(2), torch.tensor([2]), [2, 2], torch.tensor([2, 2]), [(2,), (2,)]]
)
def test_every_form_of_target(kind, target):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 2], [net.block], SIZE)
    torch.testing.assert_close(build(kind, net, "block").attribute(x, target), expected)


@each_kind
def test_no_target_for_one_number_per_sample(kind):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 1], [net.block], SIZE)
    for forward in (lambda t: net(t)[:, 1], lambda t: net(t)[:, 1:2], lambda t: net(t)[:, 1].sum()):
        torch.testing.assert_close(build(kind, forward, net.block).attribute(x), expected)


@each_kind
def test_segmentation_output(kind):
    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.conv(x).relu())

    model, x = Segmenter().eval(), images()
    message = (
        r"with target=2 the model's output of shape \(2, 5, 12, 12\) gives 144 numbers for each sample.*target=\(c"
    )
    with refused(model, x, error=ValueError, match=message):
        build(kind, model, "conv").attribute(x, 2)
    pixel = plain(kind, lambda: model(x)[:, 2, 5, 7], [model.conv], SIZE)
    torch.testing.assert_close(build(kind, model, "conv").attribute(x, (2, 5, 7)), pixel)
    mean = plain(kind, lambda: model(x)[:, 2].mean((1, 2)), [model.conv], SIZE)
    torch.testing.assert_close(build(kind, lambda t: model(t).mean((2, 3)), model.conv).attribute(x, 2), mean)


@each_kind
def test_empty_batch(kind):
    net = Net().eval()
    x = images(0)
    with refused(net, x, error=ValueError, match=r"Input 0 of shape \(0, 3, 12, 12\) is an empty batch; pass at least"):
        build(kind, net, "block").attribute(x, 0)


@each_kind
def test_uint8_input(kind):
    net = Net().eval()
    x = torch.randint(256, (2, 3, 12, 12), dtype=torch.uint8)
    with refused(net, x, error=RuntimeError, match=r"input of type torch\.uint8 .*images\.float\(\) / 255"):
        build(kind, net, "block").attribute(x, 0)
    expected = plain(kind, lambda: net(x / 255)[:, 0], [net.block], SIZE)
    with untouched(net, x):  # a model that scales by itself is fine
        actual = build(kind, lambda t: net(t.float() / 255), net.block).attribute(x, 0)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected)
    build(kind, lambda t: net(t.float() / 255), net.block).attribute(x, 0, attribute_to_layer_input=True)


@each_kind
def test_channels_last(kind):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    net.to(memory_format=torch.channels_last)
    strided = x.to(memory_format=torch.channels_last)
    with untouched(net, strided):
        actual = build(kind, net, "block").attribute(strided, 0)
    assert actual.is_contiguous()
    torch.testing.assert_close(actual, expected)
    if kind == "combined":
        assert build(kind, net, "block").attribute(strided, 0, expand_as_inputs=True).is_contiguous()
