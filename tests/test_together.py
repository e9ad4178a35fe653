from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer, resnet18

from normgrad_attr import CombinedNormGrad, MetaSaliency, NormGrad, attribute_together
from tests.models import Net, images


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return resnet18(num_classes=4).eval()


def methods_of(network: nn.Module) -> list[NormGrad | CombinedNormGrad]:
    last = ["layer2.0", "layer3.1", "layer4.1"]
    return [
        NormGrad(network, "layer4.1", extract="scaling"),
        NormGrad(network, ["layer2.0", "layer4.1"], extract="conv3x3", aggregate="positive_norm"),
        NormGrad(network, "layer4.1.conv2", extract="layer"),
        CombinedNormGrad(network, last),
        CombinedNormGrad(network, last[::-1], extract="depthwise_conv3x3", combine="sum", weights=[1.0, 2.0, 3.0]),
        CombinedNormGrad.class_sensitive(network, ["layer1.1", *last]),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_are_those_of_each_method_by_itself_from_one_forward(network, dtype):
    network = network.to(dtype)
    films, target = torch.randn(3, 3, 96, 96, dtype=dtype), torch.tensor([0, 3, 1])
    methods = methods_of(network)
    alone = [method.attribute(films, target) for method in methods]
    runs = []
    handle = network.register_forward_hook(lambda *_: runs.append(1))
    together = attribute_together(methods, films, target)
    handle.remove()
    assert len(runs) == 1
    for one, same in zip(alone, together, strict=True):
        for a, b in zip(one, same, strict=True) if isinstance(one, list) else [(one, same)]:
            assert a.dtype == b.dtype == dtype
            assert torch.equal(a, b)
    network.float()


def test_a_tuple_of_inputs_gives_a_tuple_for_combined_maps_as_alone(network):
    film = torch.randn(1, 3, 96, 96)
    methods = methods_of(network)
    combined = attribute_together(methods, (film,), 2)[3]
    assert isinstance(combined, tuple)
    assert torch.equal(combined[0], methods[3].attribute((film,), 2)[0])


def test_tokens_are_laid_out():
    network = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=24, mlp_dim=24, num_classes=3).eval()
    nn.init.normal_(network.heads.head.weight)  # zeros at first
    film, layers = torch.randn(2, 3, 32, 32), ["encoder.layers.*_0", "encoder.layers.*_1"]  # patches reach these
    combined, single = CombinedNormGrad(network, layers), NormGrad(network, "encoder.layers.encoder_layer_1")
    found = attribute_together([combined, single], film, 1)
    assert torch.equal(found[0], combined.attribute(film, 1))
    assert torch.equal(found[1], single.attribute(film, 1))


def test_methods_that_share_no_pass_are_refused():
    with pytest.raises(ValueError, match="no methods"):
        attribute_together([], images(), 0)
    with pytest.raises(ValueError, match="of several models"):
        attribute_together([NormGrad(Net().eval(), "block"), NormGrad(Net().eval(), "block")], images(), 0)
    network = Net().eval()
    with pytest.raises(ValueError, match="channel_dim"):
        attribute_together([NormGrad(network, "block"), NormGrad(network, "block", channel_dim=1)], images(), 0)
    with pytest.raises(TypeError, match=r"MetaSaliency is not; call its attribute\(\)"):
        attribute_together([NormGrad(network, "block"), MetaSaliency(NormGrad(network, "block"))], images(), 0)
