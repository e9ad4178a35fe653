from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from benchmarks.classifier.network import build_network
from benchmarks.consistency.randomise import blocks_from_the_top, randomised

IMAGES = 3


def away_from_initialisation(network: nn.Module) -> nn.Module:
    """Noise on every parameter and statistic, so that one drawn anew cannot come out equal."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.data += 0.1 * torch.rand_like(tensor)
    return network.eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return away_from_initialisation(build_network("slim_resnet18", "none"))


def tiny_vit() -> nn.Module:
    torch.manual_seed(0)
    vit = VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=2
    )
    return away_from_initialisation(vit)


def batches() -> list[torch.Tensor]:
    return [torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    return {
        name
        for name, value in before.state_dict().items()
        if value.is_floating_point() and not torch.equal(value, after.state_dict()[name])
    }


def test_blocks_of_a_resnet_from_the_head_down(resnet: nn.Module) -> None:
    stages = [f"layer{stage}.{block}" for stage in (4, 3, 2, 1) for block in (1, 0)]
    assert blocks_from_the_top(resnet, batches()[0]) == ["fc", *stages, "bn1", "conv1"]


def test_blocks_of_a_vision_transformer() -> None:
    assert blocks_from_the_top(tiny_vit(), batches()[0]) == [
        "heads.head", "encoder.ln", "encoder.layers.encoder_layer_1", "encoder.layers.encoder_layer_0",
        "encoder", "conv_proj", "class_token",
    ]  # fmt: skip


def test_head_only_leaves_the_backbone_bit_identical(resnet: nn.Module) -> None:
    assert changed(resnet, randomised(resnet, ["fc"], 0, batches())) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("steps", [1, 3, 9, 11])
def test_a_step_of_the_cascade_changes_exactly_what_lies_above(resnet: nn.Module, steps: int) -> None:
    order = ["fc", *(f"layer{stage}.{block}" for stage in (4, 3, 2, 1) for block in (1, 0)), "bn1", "conv1"]
    after = randomised(resnet, order[:steps], 0, batches())

    floats = {name for name, value in resnet.state_dict().items() if value.is_floating_point()}
    assert changed(resnet, after) == {name for name in floats if any(name.startswith(f"{b}.") for b in order[:steps])}


@pytest.mark.parametrize("arch", ["mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "vit"])
def test_all_blocks_hold_all_weights(arch: str) -> None:
    network = tiny_vit() if arch == "vit" else away_from_initialisation(build_network(arch, "none"))
    blocks = blocks_from_the_top(network, batches()[0])
    after = randomised(network, blocks, 0, batches())

    assert changed(network, after) >= {name for name, _ in network.named_parameters()}
    head = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    assert blocks[0] == head
    assert changed(network, randomised(network, blocks[:1], 0, batches())) == {f"{head}.weight", f"{head}.bias"}


def test_bare_parameters_are_shuffled() -> None:
    network = tiny_vit()
    after = randomised(network, ["encoder"], 0, [])

    assert changed(network, after) == {"encoder.pos_embedding"}
    before, shuffled = network.encoder.pos_embedding, after.encoder.pos_embedding
    assert torch.equal(before.flatten().sort().values, shuffled.flatten().sort().values)


def test_statistics_are_those_of_the_new_features() -> None:
    network = away_from_initialisation(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    after = randomised(network, ["1", "0"], 0, batches())

    features = [after[0](images).detach() for images in batches()]
    torch.testing.assert_close(after[1].running_mean, sum(f.mean((0, 2, 3)) for f in features) / 2)
    torch.testing.assert_close(after[1].running_var, sum(f.var((0, 2, 3), unbiased=True) for f in features) / 2)
    assert after[1].momentum == network[1].momentum
    assert not any(module.training for module in after.modules())


def test_draws_depend_on_seed_and_block_alone(resnet: nn.Module) -> None:
    torch.manual_seed(5)
    state, before = torch.get_rng_state(), copy.deepcopy(resnet.state_dict())
    one = randomised(resnet, ["fc"], 0, batches())
    two = randomised(resnet, ["fc", "layer4.1"], 0, batches())

    assert torch.equal(one.fc.weight, two.fc.weight)
    assert not torch.equal(one.fc.weight, randomised(resnet, ["fc"], 1, batches()).fc.weight)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(resnet.state_dict(), before, rtol=0, atol=0)
