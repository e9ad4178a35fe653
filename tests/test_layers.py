from __future__ import annotations

import functools

import pytest
import torch
from models import Net
from torch import nn

from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr._layers import name_of, owner, resolve


def test_a_layer_is_found_by_module_or_dotted_name():
    net = Net()
    assert resolve(net, net.block) is net.block
    assert resolve(net, "block") is net.block
    assert resolve(net, "block.0") is net.block[0]
    assert resolve(net, "") is net


def test_names_are_looked_up_in_the_model_behind_wrappers_and_methods():
    net = Net()
    compiled = torch.compile(net, backend="eager")
    for forward_func in (nn.DataParallel(net), net.features, compiled, nn.DataParallel(compiled)):
        assert owner(forward_func) is net
        assert resolve(forward_func, "block.0") is net.block[0]


def test_submodules_keep_their_names_when_compiled():
    net = Net()
    inner = net.block
    net.block = torch.compile(net.block, backend="eager")
    assert resolve(net, "block") is inner
    assert resolve(net, "block.1") is inner[1]
    assert resolve(net, net.block) is inner
    assert name_of(net, inner[1]) == "'block.1' (ReLU)"


def test_a_wrong_name_is_answered_with_near_ones():
    with pytest.raises(
        ValueError, match=r"Net has no layer named 'block\.O'; did you mean 'block\.1' or 'block\.0' or 'block'\?"
    ):
        resolve(Net(), "block.O")
    with pytest.raises(ValueError, match=r"Net has no layer named 'zzz'; did you mean 'relu1' or 'block' or 'head'\?"):
        resolve(Net(), "zzz")


@pytest.mark.parametrize("hide", [lambda net: lambda x: net(x), lambda net: functools.partial(net.forward)])
def test_a_name_for_a_hidden_model_is_refused(hide):
    net = Net()
    with pytest.raises(ValueError, match=r"'block' is a name, but forward_func is not a module.*pass the layer's mod"):
        resolve(hide(net), "block")


@pytest.mark.parametrize("layer", [3, None, torch.zeros(1)])
def test_something_else_than_a_layer_is_refused(layer):
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module or a dotted name, not "):
        NormGrad(Net(), layer)


@pytest.mark.parametrize("empty", [[], ()])
def test_no_layers_are_refused(empty):
    with pytest.raises(ValueError, match="list of layers is empty"):
        NormGrad(Net(), empty)
    with pytest.raises(ValueError, match="list of layers is empty"):
        CombinedNormGrad(Net(), empty)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_scripted_layer_is_refused():
    net = Net().eval()
    net.block = torch.jit.script(net.block)
    with pytest.raises(ValueError, match="scripted or traced, and hooks on such modules never run; use the original"):
        resolve(net, "block.0")


def test_messages_name_a_layer_by_its_dotted_name_or_its_type():
    net = Net()
    assert name_of(net, net.block[0]) == "'block.0' (Conv2d)"
    assert name_of(lambda x: net(x), net.block[0]) == "Conv2d"
    assert name_of(net, net) == "Net"
    assert name_of(net, nn.ReLU()) == "ReLU"
