from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from models import Net, images
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from normgrad_attr import CombinedNormGrad, NormGrad, explain
from normgrad_attr._aggregate import is_cancelled
from normgrad_attr._evidence import evidence_layer


class Normed(nn.Module):
    """Features (N, H, W, C), a norm that reads them, perhaps through a function, an average and a head."""

    def __init__(self, norm: nn.Module, between: Callable[[Tensor], Tensor] = nn.Identity()) -> None:  # noqa: B008
        super().__init__()
        self.conv, self.mix, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), norm, nn.Linear(8, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.between(self.mix(self.conv(x).movedim(1, -1)))).mean((1, 2)))


def best(output: Tensor) -> Tensor:
    return output.argmax(1)


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.RMSNorm(8, eps=1e-6)], ids=["LayerNorm", "RMSNorm"])
def test_evidence_is_read_behind_a_norm_that_hides_it(norm: nn.Module) -> None:
    x = torch.rand(2, 3, 24, 24)
    assert evidence_layer(Normed(norm, between=torch.exp).eval(), "mix", x, best) == "mix"  # not its scale alone
    net = Normed(norm).eval()
    assert evidence_layer(net, "mix", x, best) == "norm"
    features = net.mix(net.conv(x).movedim(1, -1)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(net.norm(features).mean((1, 2)))[:, 0].sum(), features)
    sums, sizes = (features * gradient).sum(-1), (features * gradient).norm(dim=-1)
    assert (sums.abs() / sizes).median() < 0.01
    with pytest.warns(UserWarning, match=r"cancels out at layer 'mix' \(Linear\).*take the output of that norm"):
        NormGrad(net, "mix", extract="scaling", aggregate="sum").attribute(x, 0)


def test_what_sums_to_something_is_not_cancelled() -> None:
    products = torch.randn(4, 512, 7, 7)
    assert not is_cancelled(products.sum(1), products.norm(dim=1))
    assert not is_cancelled(torch.zeros(3), torch.ones(3))


def transformers() -> list[tuple[nn.Module, tuple[str, ...]]]:
    vit = VisionTransformer(
        image_size=32, patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3
    )
    nn.init.normal_(vit.heads.head.weight)
    swin = SwinTransformer(
        patch_size=[2, 2], embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=[4, 4], num_classes=3
    )
    return [(vit, ("encoder.layers.encoder_layer_3.ln_1",)), (swin, ("norm",)), (Net(), ("block", "block.1"))]


@pytest.mark.filterwarnings("ignore:The map of layer .* is constant")  # of networks that are not trained
@pytest.mark.parametrize("number", range(3), ids=["ViT", "Swin", "convolutions"])
def test_class_sensitive_maps_end_where_the_class_can_be_read(number: int) -> None:
    net, last = transformers()[number]
    net.eval()
    x = images() if isinstance(net, Net) else torch.rand(2, 3, 32, 32)
    result, usual = explain(net, x, class_sensitive=True), explain(net, x)
    assert result.layers[-1] in last
    assert result.layers[:-1] == usual.layers[:-1]
    expected = CombinedNormGrad.class_sensitive(net, list(result.layers)).attribute(x, result.targets)
    torch.testing.assert_close(result.maps, expected)
