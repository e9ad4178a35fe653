from __future__ import annotations

import copy
import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn
from torchvision.models import VisionTransformer

from benchmarks.classifier.network import SlimResNet18
from benchmarks.methods import METHODS, Context, Method, reduce_channels, registry, select_methods
from benchmarks.methods.layer_choice import Layers
from benchmarks.methods.normgrad import last_convolution
from benchmarks.metrics.frame import FRAME
from benchmarks.metrics.pointing_game import PROTOCOLS, find_maxima
from benchmarks.run.errors import UserError

PAPER = (
    "center", "random", "grad_cam", "guided_grad_cam", "input_x_gradient", "guided_backprop",
    "normgrad_scaling_single", "normgrad_scaling_combined", "normgrad_conv1x1_single", "normgrad_conv1x1_combined",
    "normgrad_conv3x3_single", "normgrad_conv3x3_combined",
)  # fmt: skip
TARGETS = torch.tensor([1, 0])


class GuidedReLU(torch.autograd.Function):
    """Springenberg's rule, written out: pass on what is positive in the input and in the gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0) * (gradient > 0)


class Guided(nn.Module):
    def forward(self, x):
        return GuidedReLU.apply(x)


def replace_relus(network):
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, Guided())
    return network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return SlimResNet18().eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def context(network):
    return Context(network, 96)


def explain(name, context, images):
    return METHODS[name].prepare(context)(images, TARGETS)


def capture(network, images, names):
    """Activations and gradients of the target scores at some layers, by plain autograd."""
    outputs = {}
    handles = [
        network.get_submodule(name).register_forward_hook(lambda m, i, o, n=name: outputs.update({n: o}))
        for name in names
    ]
    score = network(images).gather(1, TARGETS.view(-1, 1)).sum()
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(score, [outputs[name] for name in names])
    return [(outputs[name].detach(), gradient) for name, gradient in zip(names, gradients, strict=True)]


def input_gradient(network, images):
    x = images.clone().requires_grad_()
    return torch.autograd.grad(network(x).gather(1, TARGETS.view(-1, 1)).sum(), x)[0]


def test_registry_holds_the_methods_of_the_paper_in_order():
    assert tuple(method.name for method in select_methods("paper")) == PAPER
    assert [method.name for method in select_methods("all")] == list(METHODS)
    for method in METHODS.values():
        assert method.family in ("baseline", "cam", "gradient", "perturbation", "normgrad")
        assert method.reduction in ("signed", "absolute", "positive")
        assert method.cost in ("none", "one_pass", "many_passes", "perturbation")
        assert "all" in method.sets
        assert "fast" in method.sets or "paper" not in method.sets
    clipped = [method.name for method in select_methods("paper") if method.clipped]
    assert clipped == ["guided_grad_cam", "input_x_gradient", "guided_backprop"]


def test_no_two_methods_have_one_name_or_title():
    assert len(METHODS) == sum(len(family.METHODS) for family in registry._FAMILIES)
    assert len({method.title for method in METHODS.values()}) == len(METHODS)


def test_every_source_can_be_imported():
    for method in METHODS.values():
        module, _, name = method.source.rpartition(".")
        assert method.source == "benchmarks" or hasattr(importlib.import_module(module), name), method.name


def test_normgrad_is_the_whole_grid_by_name():
    extracts = ("bias", "scaling", "conv1x1", "conv3x3", "depthwise_conv3x3")
    suffixes = ("", "_positive_norm", "_sum", "_max")
    grid = {f"normgrad_{e}_{s}{a}" for e in extracts for s in ("single", "combined") for a in suffixes}
    layers = {f"normgrad_layer_single{a}" for a in suffixes}
    ways = ("uniform", "linear", "probe", "added", "added_linear", "added_probe", "suggested", "meta")
    others = {f"normgrad_{e}_combined_{w}" for e in extracts for w in ways}
    single = {f"normgrad_{e}_single_meta" for e in extracts}
    noisy = {f"normgrad_conv1x1_combined_{kind}" for kind in ("smoothgrad", "smoothgrad_squared", "vargrad")}
    recipe = {"normgrad_class_sensitive_combined", "normgrad_class_sensitive_combined_suggested"}
    assert {n for n, m in METHODS.items() if m.family == "normgrad"} == grid | layers | others | single | noisy | recipe


def test_selection_by_set_and_name_keeps_the_order_of_the_registry():
    assert [method.name for method in select_methods("guided_backprop, center,center")] == ["center", "guided_backprop"]
    assert [method.name for method in select_methods(["random", "paper"])] == list(PAPER)
    fast = select_methods("fast,random")
    assert [method.name for method in select_methods("all") if method in fast] == [method.name for method in fast]


def test_unknown_and_missing_names_are_told():
    with pytest.raises(UserError, match=r"no method 'gradcam'; near it are grad_cam.* sets are paper, fast, all"):
        select_methods("paper,gradcam")
    with pytest.raises(UserError, match="--methods is empty"):
        select_methods(" ,")


def test_reductions_by_hand():
    attribution = torch.tensor([[1.0, -2.0], [-3.0, 5.0]]).view(1, 2, 1, 2)
    assert reduce_channels(attribution, "absolute").flatten().tolist() == [4.0, 7.0]
    assert reduce_channels(attribution, "positive").flatten().tolist() == [1.0, 5.0]
    assert reduce_channels(attribution, "signed").flatten().tolist() == [-2.0, 3.0]
    assert reduce_channels(attribution[:, :1], "positive").flatten().tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="no reduction 'largest'"):
        reduce_channels(attribution, "largest")


def test_center_is_largest_in_the_middle():
    maps = METHODS["center"].prepare(Context(nn.Identity(), 7))(torch.zeros(1, 3, 7, 7), TARGETS[:1])
    assert maps.flatten().argmax() == 24


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_random_plays_uniformly(context, images, protocol):
    """Half of the maxima in each half of the frame, and not too many at its border."""
    torch.manual_seed(0)
    points = [find_maxima(explain("random", context, images), protocol=protocol).points for _ in range(200)]
    x, y = np.concatenate(points).T
    for half in (x < FRAME / 2, y < FRAME / 2):
        assert abs(half.mean() - 0.5) < 4 * 0.5 / len(x) ** 0.5
    border = (np.minimum(x, y) < 15) | (np.maximum(x, y) >= FRAME - 15)  # 9.75 % of the frame
    assert border.mean() < 0.0975 + 4 * 0.3 / len(x) ** 0.5


def test_random_follows_torchs_seed(context, images):
    torch.manual_seed(4)
    first = explain("random", context, images)
    torch.manual_seed(4)
    assert torch.equal(explain("random", context, images), first)
    assert not torch.equal(explain("random", context, images), first)


def test_edge_is_the_length_of_the_sobel_gradient(context, images):
    film = images.mean(dim=1).double().numpy()
    expected = [(ndimage.sobel(one, axis=0) ** 2 + ndimage.sobel(one, axis=1) ** 2) ** 0.5 for one in film]
    torch.testing.assert_close(explain("edge", context, images)[:, 0].double(), torch.tensor(np.stack(expected)),
                               rtol=1e-4, atol=1e-5)  # fmt: skip


def test_the_brightest_pixel_is_that_of_the_film(context):
    images = torch.zeros(2, 3, 5, 5)
    images[0, :, 1, 3] = 2
    images[1, :, 4, 0] = 3
    assert explain("brightest", context, images).flatten(1).argmax(dim=1).tolist() == [8, 20]


def test_grad_cam_is_the_rectified_weighted_sum(network, context, images):
    [(x, g)] = capture(network, images, ["layer4.1"])
    expected = (g.mean(dim=(2, 3), keepdim=True) * x).sum(dim=1, keepdim=True).clamp(min=0)
    torch.testing.assert_close(explain("grad_cam", context, images), expected)


def test_input_x_gradient(network, context, images):
    expected = (images * input_gradient(network, images)).abs().sum(dim=1, keepdim=True)
    torch.testing.assert_close(explain("input_x_gradient", context, images), expected)


def test_guided_backprop_follows_the_literal_rule(network, context, images):
    gradient = input_gradient(replace_relus(network), images)
    expected = gradient.clamp(min=0).sum(dim=1, keepdim=True)
    torch.testing.assert_close(explain("guided_backprop", context, images), expected)
    assert not torch.allclose(expected, input_gradient(network, images).clamp(min=0).sum(dim=1, keepdim=True))


def test_guided_grad_cam_is_the_product(network, context, images):
    cam = F.interpolate(explain("grad_cam", context, images), size=(96, 96), mode="bilinear")
    expected = (cam * input_gradient(replace_relus(network), images)).abs().sum(dim=1, keepdim=True)
    torch.testing.assert_close(explain("guided_grad_cam", context, images), expected)


def virtual_identity_norms(extract, x, g):
    """Norm of each location's weight gradient, materialised."""
    x, g = x.double(), g.double()
    if extract == "scaling":
        return (g * x).norm(dim=1, keepdim=True).float()
    k = 1 if extract == "conv1x1" else 3
    windows = F.unfold(x, k, padding=k // 2)  # (N, C k k, L)
    outer = torch.einsum("ncl,npl->ncpl", g.flatten(2), windows)
    return outer.flatten(1, 2).norm(dim=1).view(len(x), 1, *x.shape[2:]).float()


@pytest.mark.parametrize("extract", ["scaling", "conv1x1", "conv3x3"])
def test_single_normgrad_looks_at_the_last_block(extract, network, context, images):
    [(x, g)] = capture(network, images, ["layer4.1"])
    torch.testing.assert_close(
        explain(f"normgrad_{extract}_single", context, images), virtual_identity_norms(extract, x, g), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("extract", ["scaling", "conv1x1"])
def test_combined_normgrad_is_the_product_of_the_papers_layers(extract, network, context, images):
    product = torch.ones(2, 1, 96, 96)
    for x, g in capture(network, images, ["layer2.0", "layer3.0", "layer4.0", "layer4.1"]):
        plane = F.interpolate(virtual_identity_norms(extract, x, g), size=(96, 96), mode="bilinear")
        low, high = plane.amin((1, 2, 3), keepdim=True), plane.amax((1, 2, 3), keepdim=True)
        product = product * (plane - low) / (high - low)
    actual = explain(f"normgrad_{extract}_combined", context, images)
    torch.testing.assert_close(actual, product / product.amax((1, 2, 3), keepdim=True), rtol=1e-3, atol=1e-5)


def test_guided_methods_need_relu_modules(images):
    context = Context(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.LazyLinear(2)), 96)
    with pytest.raises(UserError, match="no ReLU module"):
        METHODS["guided_backprop"].prepare(context)


def test_the_layers_own_weights_are_those_of_the_last_convolution(network, context, images):
    """Materialised: each location's share in the gradient of the convolution's weights."""
    layer = network.layer4[1].conv2
    seen = []
    handle = layer.register_forward_hook(lambda m, i, o: seen.extend((i[0], o)))
    score = network(images).gather(1, TARGETS.view(-1, 1)).sum()
    handle.remove()
    (g,) = torch.autograd.grad(score, [seen[1]])
    expected = virtual_identity_norms("conv3x3", seen[0].detach(), g)
    torch.testing.assert_close(explain("normgrad_layer_single", context, images), expected, rtol=1e-4, atol=0)


def test_the_last_convolution_is_not_the_shortcuts():
    block = nn.Sequential()
    block.conv1 = nn.Conv2d(1, 1, 3)
    block.downsample = nn.Sequential(nn.Conv2d(1, 1, 1))
    assert last_convolution(block, "stage.0") == "stage.0.conv1"
    assert last_convolution(nn.Conv2d(1, 1, 1), "stage.0") == "stage.0"
    with pytest.raises(UserError, match="block stage has no convolution"):
        last_convolution(nn.Sequential(nn.ReLU()), "stage")


def test_added_maps_are_the_sum_of_the_papers_layers(network, context, images):
    total = torch.zeros(2, 1, 96, 96)
    for x, g in capture(network, images, ["layer2.0", "layer3.0", "layer4.0", "layer4.1"]):
        plane = F.interpolate(virtual_identity_norms("conv1x1", x, g), size=(96, 96), mode="bilinear")
        low, high = plane.amin((1, 2, 3), keepdim=True), plane.amax((1, 2, 3), keepdim=True)
        total = total + (plane - low) / (high - low)
    low, high = total.amin((1, 2, 3), keepdim=True), total.amax((1, 2, 3), keepdim=True)
    actual = explain("normgrad_conv1x1_combined_added", context, images)
    torch.testing.assert_close(actual, (total - low) / (high - low), rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The map of layer .* is constant")
def test_suggested_layers_serve_a_transformer_too():
    transformer = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=2).eval()
    with torch.no_grad():
        transformer.heads.head.weight.normal_()
    context = Context(transformer, 32)
    maps = METHODS["normgrad_conv1x1_combined_suggested"].prepare(context)(torch.randn(2, 3, 32, 32), TARGETS)
    assert maps.shape == (2, 1, 32, 32)
    assert (maps.flatten(1).amax(dim=1) == 1).all()
    maps = METHODS["normgrad_class_sensitive_combined_suggested"].prepare(context)(torch.randn(2, 3, 32, 32), TARGETS)
    assert maps.shape == (2, 1, 32, 32)


def test_methods_that_need_channels_in_front_say_that_a_transformer_has_none():
    transformer = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=2).eval()
    context = Context(transformer, 32)
    with pytest.raises(UserError, match=r"needs maps \(N, C, h, w\)"):
        METHODS["grad_cam"].prepare(context)
    for name in ("input_x_gradient", "normgrad_conv1x1_combined"):
        assert METHODS[name].prepare(context)(torch.randn(2, 3, 32, 32), TARGETS).shape == (2, 1, 32, 32)


def test_a_new_method_is_one_entry():
    method = Method("mean", "Mean", lambda context: lambda images, targets: images, "gradient", "absolute")
    maps = method.prepare(Context(nn.Identity(), 4))(-torch.ones(1, 3, 4, 4), TARGETS[:1])
    assert maps.shape == (1, 1, 4, 4)
    assert (maps == 3).all()


def test_layers_are_the_papers(network):
    assert Context(network, 96).layers == Layers("layer4.1", ("layer2.0", "layer3.0", "layer4.0", "layer4.1"))


class HalfSquares(nn.Module):
    """Its gradient is its input."""

    def forward(self, x):
        return x.square().sum(dim=(1, 2, 3), keepdim=True)[:, :, 0, 0].expand(-1, 2) / 2


@pytest.mark.parametrize("contrast", [1 / 0.224, 2048.0])
def test_noise_is_fifteen_percent_of_what_black_and_white_differ_by(contrast):
    torch.manual_seed(0)
    variance = METHODS["saliency_vargrad"].prepare(Context(HalfSquares(), 64, contrast=contrast))
    maps = variance(torch.zeros(2, 3, 64, 64), TARGETS)
    # Of 24 copies, not divided by one less; the relative error of the mean over 8192 pixels is 0.2 %.
    assert maps.mean().item() == pytest.approx(3 * (0.15 * contrast) ** 2 * 23 / 24, rel=0.02)
