from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from normgrad_attr import CombinedNormGrad, NormGrad, tokens_to_map
from normgrad_attr._layout import Layouts
from normgrad_attr.functional import combine_maps


def vit() -> nn.Module:
    model = VisionTransformer(64, 16, num_layers=4, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=5)
    nn.init.normal_(model.heads[0].weight)  # torchvision's start is zero, which no gradient passes
    return model.eval()


def swin(embed: int = 16) -> nn.Module:
    return SwinTransformer([4, 4], embed, [2, 2], [2, 4], window_size=[4, 4], num_classes=5).eval()


BLOCKS = [f"encoder.layers.encoder_layer_{i}" for i in range(4)]


def test_vit_blocks_are_mapped_over_their_tokens() -> None:
    model, x = vit(), torch.randn(2, 3, 64, 64)
    tokens: dict[str, Tensor] = {}

    def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        tokens["x"] = output

    handle = model.get_submodule(BLOCKS[1]).register_forward_hook(hook)
    model(x)[:, 3].sum().backward()
    handle.remove()
    expected = tokens["x"].norm(dim=-1) * tokens["x"].grad.norm(dim=-1)
    found = NormGrad(model, BLOCKS[1], channel_dim=-1).attribute(x, target=3)
    assert found.shape == (2, 1, 17)
    torch.testing.assert_close(found[:, 0], expected.detach())
    torch.testing.assert_close(tokens_to_map(found), expected[:, 1:].detach().reshape(2, 1, 4, 4))


@pytest.mark.parametrize("size", [(64, 64), (64, 32)])
def test_vit_blocks_are_combined_at_the_size_of_the_image(size: tuple[int, int]) -> None:
    model = vit()
    if size != (64, 64):
        model.image_size = None

        def cut(x: Tensor) -> Tensor:  # a ViT for images that are not square
            return model.conv_proj(x).flatten(2).movedim(1, 2)

        model._process_input = cut
        model.encoder.pos_embedding = nn.Parameter(torch.randn(1, 9, 24))
    # Behind the last block only the class token reaches the head, so its patches have no gradient.
    found = CombinedNormGrad(model, BLOCKS[:3]).attribute(torch.randn(2, 3, *size), target=1)
    assert found.shape == (2, 1, *size)
    assert found.amin() == 0
    assert found.amax() == 1


def test_the_last_vit_block_says_nothing_of_where_and_the_user_is_told() -> None:
    with pytest.warns(UserWarning, match="layer 1.*constant"):
        CombinedNormGrad(vit(), [BLOCKS[0], BLOCKS[3]], channel_dim=-1).attribute(torch.randn(1, 3, 64, 64), target=1)


def test_tokens_of_volumes_are_combined() -> None:
    class Volumes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv3d(1, 6, 4, stride=4)
            self.mix = nn.Linear(6, 6)
            self.head = nn.Linear(6 * 12, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(self.patches(x).flatten(2).mT).flatten(1))

    x = torch.randn(2, 1, 8, 8, 12)
    found = CombinedNormGrad(Volumes(), ["mix"]).attribute(x, target=1)
    assert found.shape == x.shape


def test_swin_stages_are_combined() -> None:
    model, x = swin(), torch.randn(2, 3, 64, 64)
    maps = NormGrad(model, ["features.1", "features.3"], channel_dim=-1).attribute(x, target=1)
    assert [m.shape for m in maps] == [(2, 1, 16, 16), (2, 1, 8, 8)]
    found = CombinedNormGrad(model, ["features.1", "features.3"]).attribute(x, target=1)
    assert found.shape == (2, 1, 64, 64)


@pytest.mark.parametrize("extract", ["bias", "scaling", "conv3x3", "depthwise_conv3x3", "layer"])
def test_a_channels_last_layer_gives_the_map_of_its_channels_first_twin(extract: str) -> None:
    class Permute(nn.Module):
        def __init__(self, *dims: int) -> None:
            super().__init__()
            self.dims = dims

        def forward(self, x: Tensor) -> Tensor:
            return x.permute(self.dims)

    linear, conv = nn.Linear(3, 6), nn.Conv2d(3, 6, 1)
    with torch.no_grad():
        conv.weight.copy_(linear.weight[:, :, None, None])
        conv.bias.copy_(linear.bias)
    head = nn.Sequential(nn.Conv2d(6, 2, 3), nn.Flatten())
    last = nn.Sequential(Permute(0, 2, 3, 1), linear, Permute(0, 3, 1, 2), head)
    first = nn.Sequential(conv, head)
    x = torch.randn(2, 3, 6, 5)
    found = NormGrad(last, linear, extract=extract, channel_dim=-1).attribute(x, target=4)
    torch.testing.assert_close(found, NormGrad(first, conv, extract=extract).attribute(x, target=4))


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (vit, BLOCKS[2]),
        (vit, "encoder.layers"),
        (vit, BLOCKS[2] + ".ln_1"),
        (vit, BLOCKS[2] + ".mlp"),
        (vit, BLOCKS[2] + ".mlp.0"),
        (vit, "encoder.ln"),
        (vit, "encoder"),
        (swin, "features.0"),
        (swin, "features.1.1"),
        (swin, "features.1.1.norm1"),
        (swin, "features.2"),
        (swin, "features.3"),
    ],
)
def test_tokens_are_told_without_a_word(build: Callable[[], nn.Module], layer: str) -> None:
    model, x = build(), torch.randn(1, 3, 64, 64)
    found = NormGrad(model, layer).attribute(x, target=0)
    torch.testing.assert_close(found, NormGrad(model, layer, channel_dim=-1).attribute(x, target=0))
    with pytest.raises(ValueError, match=f"channel_dim=1 is wrong for layer '{layer}'"):
        NormGrad(model, layer, channel_dim=1).attribute(x, target=0)


def test_a_swin_patch_embedding_is_told_from_a_map_even_if_its_width_is_its_channels() -> None:
    model, x = swin(embed=16), torch.randn(1, 3, 64, 64)
    found = NormGrad(model, "features.0").attribute(x, target=0)
    torch.testing.assert_close(found, NormGrad(model, "features.0", channel_dim=-1).attribute(x, target=0))


@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # by maxvit_t of torchvision 0.19
@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "efficientnet_b0",
        "maxvit_t",
        "mobilenet_v3_small",
        "mnasnet0_5",
        "resnext50_32x4d",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
        "vgg11_bn",
    ],
)
def test_feature_maps_are_never_taken_for_tokens(name: str) -> None:
    # 384: the width of ConvNeXt's first maps is their number of channels. The meta device computes shapes only.
    size = {"convnext_tiny": 384, "maxvit_t": 224}.get(name, 96)
    with torch.device("meta"):
        model, x = getattr(torchvision.models, name)().eval(), torch.empty(1, 3, size, size, requires_grad=True)
    seen = []

    def hook(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((layer, get_gradient_edge(output), tuple(output.shape)))

    for module_name, module in model.named_modules():
        # Inside their blocks, ConvNeXt and MaxViT do work on tokens for a while.
        if module_name and ".block." not in module_name and "_attention." not in module_name:
            module.register_forward_hook(hook)
    layouts = Layouts(model(x).sum().grad_fn)
    maps = [(layer, edge, shape) for layer, edge, shape in seen if len(shape) == 4 and shape[2] > 1]
    assert len(maps) > 5
    for layer, edge, shape in maps:
        assert layouts.of(edge).channel_dim() == 1, (layer, shape)
        assert layouts.of(edge).grid(2) == shape[2:], (layer, shape)


@pytest.mark.parametrize("dims", [1, 3])
def test_networks_of_one_and_three_dimensions(dims: int) -> None:
    conv, norm, pool = {
        1: (nn.Conv1d, nn.BatchNorm1d, nn.AvgPool1d),
        3: (nn.Conv3d, nn.BatchNorm3d, nn.AvgPool3d),
    }[dims]
    model = nn.Sequential(
        nn.Sequential(conv(2, 8, 3, padding=1), norm(8), nn.ReLU(inplace=True)),
        pool(2),
        nn.Sequential(conv(8, 8, 3, padding=1), nn.GELU()),
        nn.Flatten(),
        nn.Linear(8 * 4**dims, 3),
    ).eval()
    x = torch.randn(2, 2, *[8] * dims)  # as many locations along a side as channels
    for extract in ("conv1x1", "conv3x3", "depthwise_conv3x3", "layer"):
        layers = ["0.0", "2.0"] if extract == "layer" else ["0", "2"]
        maps = NormGrad(model, layers, extract=extract).attribute(x, target=1)
        assert [m.shape for m in maps] == [(2, 1, *[8] * dims), (2, 1, *[4] * dims)]
        found = CombinedNormGrad(model, layers, extract=extract).attribute(x, target=1)
        assert found.shape == (2, 1, *[8] * dims)
        assert found.amax() == 1


@pytest.mark.parametrize(
    ("tokens", "grid", "prefix", "shape"),
    [
        (196, None, None, (14, 14)),
        (197, None, None, (14, 14)),  # class token
        (198, None, None, (14, 14)),  # and a distillation token
        (201, None, None, (14, 14)),  # and four register tokens
        (33, (4, 8), None, (4, 8)),
        (32, (2, 4, 4), 0, (2, 4, 4)),
        (10, None, 1, (3, 3)),
    ],
)
def test_tokens_to_map_drops_what_comes_before_the_patches(
    tokens: int, grid: tuple[int, ...] | None, prefix: int | None, shape: tuple[int, ...]
) -> None:
    x = torch.arange(2.0 * tokens).reshape(2, 1, tokens)
    found = tokens_to_map(x, grid, prefix_tokens=prefix)
    assert found.shape == (2, 1, *shape)
    assert found.flatten(2).equal(x[:, :, tokens - found[0].numel() :])


@pytest.mark.parametrize(
    ("shape", "grid", "prefix", "message"),
    [
        ((1, 4), None, None, "shape .N, C, T."),
        ((1, 1, 10, 10), None, None, "shape .N, C, T."),
        ((1, 1, 23), None, 0, "do not make a square grid"),
        ((1, 1, 0), None, None, "do not make a square grid"),
        ((1, 1, 8), (3, 3), None, "grid of 3 x 3"),
        ((1, 1, 10), (3, 3), 2, "2 prefix tokens and a grid of 3 x 3"),
    ],
)
def test_tokens_that_do_not_fill_the_grid(
    shape: tuple[int, ...], grid: tuple[int, ...] | None, prefix: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tokens_to_map(torch.rand(shape), grid, prefix_tokens=prefix)


def test_timm_vit_with_register_tokens() -> None:
    timm = pytest.importorskip("timm")
    model = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=24, depth=2, num_heads=2, num_classes=3, reg_tokens=4
    ).eval()
    x = torch.randn(2, 3, 64, 64)
    tokens = NormGrad(model, "blocks.0").attribute(x, target=0)
    assert tokens.shape == (2, 1, 21)
    assert tokens_to_map(tokens).shape == (2, 1, 4, 4)
    assert CombinedNormGrad(model, ["blocks.0"]).attribute(x, target=0).shape == (2, 1, 64, 64)


@pytest.mark.parametrize(("size", "output_size"), [((16, 8), (16, 16)), ((16, 16), (40, 40))])
def test_the_grid_is_that_of_the_input_whatever_the_output(size: tuple[int, int], output_size: tuple[int, int]) -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.block, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(self.embed(x).flatten(2).mT).square().mean(1))

    model, x = Patches().eval(), torch.rand(2, 3, *size)
    tokens = NormGrad(model, "block", channel_dim=-1).attribute(x, 1)
    method = CombinedNormGrad(model, ["block"], channel_dim=-1)
    expected = combine_maps([tokens_to_map(tokens, (size[0] // 4, size[1] // 4))], output_size)
    torch.testing.assert_close(method.attribute(x, 1, output_size=output_size), expected)


@pytest.mark.parametrize("layer", ["encoder.layers.encoder_layer_0.mlp.0", "encoder.layers.encoder_layer_0.mlp.3"])
def test_tokens_in_the_input_of_a_layer_that_changes_their_width(layer: str) -> None:
    model = VisionTransformer(
        image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=2
    ).eval()
    found = NormGrad(model, layer).attribute(torch.rand(1, 3, 16, 16), 0, attribute_to_layer_input=True)
    assert found.shape == (1, 1, 5)
