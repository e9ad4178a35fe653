"""Networks as they come: a start by suggest_layers, and maps that plain autograd gives too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from models import untouched
from torch import Tensor, nn
from torchvision import models as tv
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

from normgrad_attr import CombinedNormGrad, NormGrad, suggest_layers, tokens_to_map
from normgrad_attr.functional import combine_maps


def vit() -> nn.Module:
    model = VisionTransformer(64, 16, num_layers=5, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=5)
    nn.init.normal_(model.heads[0].weight)  # torchvision's start is zero, which no gradient passes
    return model


def swin(**kwargs: Any) -> nn.Module:
    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], window_size=[4, 4], num_classes=5, **kwargs)


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, 24, 2), CNBlockConfig(24, None, 2)], num_classes=5)


def timm_vit(timm: Any) -> nn.Module:
    return timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=24, depth=4, num_heads=2, num_classes=5, reg_tokens=4
    )


def timm_swin(timm: Any) -> nn.Module:
    return timm.models.SwinTransformer(
        img_size=64, patch_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=5
    )


def from_timm(build: Callable[[Any], nn.Module]) -> nn.Module:
    return build(pytest.importorskip("timm"))


IMAGE = (2, 3, 64, 64)
# What builds the network, the shape of its input, and what makes scores of its output.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Callable[[Any], Tensor]]] = {
    "densenet": (partial(tv.DenseNet, 8, (2, 2, 2, 2), 16, num_classes=5), IMAGE, lambda y: y),
    "mobilenet_v3": (partial(tv.mobilenet_v3_small, num_classes=5), IMAGE, lambda y: y),
    "efficientnet": (partial(tv.efficientnet_b0, num_classes=5), IMAGE, lambda y: y),
    "regnet": (partial(tv.regnet_y_400mf, num_classes=5), IMAGE, lambda y: y),
    "shufflenet": (partial(tv.shufflenet_v2_x0_5, num_classes=5), IMAGE, lambda y: y),
    "convnext": (convnext, IMAGE, lambda y: y),
    "vit": (vit, IMAGE, lambda y: y),
    "swin": (swin, IMAGE, lambda y: y),
    "swin_v2": (partial(swin, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2), IMAGE, lambda y: y),
    "googlenet": (partial(tv.googlenet, num_classes=5, init_weights=False), IMAGE, lambda y: y),
    "inception": (partial(tv.inception_v3, num_classes=5, init_weights=False), (2, 3, 96, 96), lambda y: y),
    "deeplabv3": (
        partial(tv.segmentation.deeplabv3_mobilenet_v3_large, weights_backbone=None, num_classes=5),
        IMAGE,
        lambda y: y["out"].mean((2, 3)),
    ),
    "r3d_18": (partial(tv.video.r3d_18, num_classes=5), (2, 3, 4, 32, 32), lambda y: y),
    "timm vit": (partial(from_timm, timm_vit), IMAGE, lambda y: y),
    "timm swin": (partial(from_timm, timm_swin), IMAGE, lambda y: y),
}


def plain_maps(forward: Callable[[Tensor], Tensor], layers: list[nn.Module], x: Tensor, channel_dim: int) -> Any:
    """The norm of the activation times that of its gradient, from a fully recorded forward."""
    kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        kept[layer] = (output, output.detach().clone())
        return output.clone()

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(keep).remove)
        score = forward(x.clone().requires_grad_())[:, 1].sum()
    gradients = torch.autograd.grad(score, [kept[layer][0] for layer in layers])
    values = [kept[layer][1] for layer in layers]
    return [
        (a.norm(dim=channel_dim) * g.norm(dim=channel_dim)).unsqueeze(1) for a, g in zip(values, gradients, strict=True)
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_from_a_proposal_to_maps(name: str) -> None:
    build, shape, score = NETWORKS[name]
    model, x = build().eval(), torch.randn(shape)
    names = suggest_layers(model, x)
    assert len(names) >= 2
    channel_dim = -1 if "vit" in name or "swin" in name else 1
    layers = [model.get_submodule(n) for n in names]

    def forward(t: Tensor) -> Tensor:
        return score(model(t))

    expected = plain_maps(forward, layers, x, channel_dim)
    with untouched(model, x):
        maps = NormGrad(forward, layers).attribute(x, 1)
        # Weights of one, for roots would magnify the rounding of the smallest values.
        method = CombinedNormGrad(forward, layers, weights=[1] * len(layers))
        combined = method.attribute(x, 1)
    for found, truth in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-5 * truth.max().item())
        assert found.max() > 0
    size = tuple(shape[2:])
    on_grid = [tokens_to_map(m) if m.dim() == 3 else m for m in expected]
    assert combined.shape == (2, 1, *size)
    torch.testing.assert_close(combined, combine_maps(on_grid, size, weights=[1] * len(layers)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("output", ["logits", "aux_logits1"])
def test_auxiliary_outputs_in_training_mode(output: str) -> None:
    model = tv.googlenet(num_classes=5, init_weights=False, aux_logits=True).train()
    x = torch.randn(2, 3, 64, 64)
    layer = model.inception3b

    def forward(t: Tensor) -> Tensor:
        return getattr(model(t), output)

    torch.manual_seed(1)  # of the dropout
    with untouched(model, x), pytest.warns(UserWarning, match="training mode"):
        (found,) = NormGrad(forward, [layer]).attribute(x, 1)
    torch.manual_seed(1)
    (expected,) = plain_maps(forward, [layer], x, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.max().item())


def test_the_pixel_of_a_segmentation() -> None:
    model = tv.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=4).eval()
    x = torch.randn(IMAGE)
    layer = model.backbone["16"]

    def pixel(t: Tensor) -> Tensor:
        return model(t)["out"][:, :, 20, 30]

    (expected,) = plain_maps(pixel, [layer], x, 1)
    found = NormGrad(lambda t: model(t)["out"], layer).attribute(x, (1, 20, 30))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.max().item())
