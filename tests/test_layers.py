from __future__ import annotations

import functools

import pytest
import torch
from models import Net
from torch import nn

from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr._layers import name_of, owner, resolve, resolve_all


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
    assert resolve(net, "block.1") is resolve(net, "block._orig_mod.1") is inner[1]
    assert resolve_all(net, ["block._orig_mod.[01]"]) == list(inner)
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


def test_a_pattern_stands_for_the_names_that_it_matches_between_dots():
    net = nn.Sequential()
    for name in ("layer1", "layer2", "layer10"):
        net.add_module(name, nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU())))
    assert resolve_all(net, ["layer*.1"]) == [net.layer1[1], net.layer2[1], net.layer10[1]]
    assert resolve_all(net, ["layer?.1.[01]"]) == [*net.layer1[1], *net.layer2[1]]
    assert resolve_all(net, ["*"]) == list(net)
    several = resolve_all(net, [net.layer2, "layer1*.0", "layer1"])
    assert several == [net.layer2, net.layer1[0], net.layer10[0], net.layer1]
    with pytest.raises(ValueError, match=r"no layer whose name matches 'layer\*\.2'.*such as 'layer10\.1\.1'"):
        resolve_all(net, ["layer*.2"])
    with pytest.raises(ValueError, match=r"may stand for several layers; pass it in a list, as in \['layer\*'\]"):
        NormGrad(net, "layer*")


def test_maps_of_layers_found_by_pattern_have_names():
    net, x = Net().eval(), torch.randn(2, 3, 12, 12)
    method = NormGrad(net, ["block.*", net.conv1])
    maps = dict(zip(method.layer_names, method.attribute(x, 1), strict=True))
    assert list(maps) == ["block.0", "block.1", "conv1"]
    for name, of_layer in maps.items():
        torch.testing.assert_close(of_layer, NormGrad(net, name).attribute(x, 1))
    assert NormGrad(net, net.block).layer_names == ["block"]
    combined = CombinedNormGrad(net, "block.*", weights=[1.0, 2.0])
    assert combined.layer_names == ["block.0", "block.1"]
    with pytest.raises(ValueError, match="has no name, as forward_func is not the module that holds it"):
        _ = NormGrad(lambda x: net(x), net.block).layer_names
