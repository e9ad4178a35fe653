from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import VisionTransformer

from benchmarks.classifier import SlimResNet18
from benchmarks.errors import UserError
from benchmarks.layers import Layers
from benchmarks.methods import METHODS, Context, Method, reduce_channels, select_methods

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
    assert tuple(METHODS) == PAPER
    assert {method.name for method in select_methods("paper")} == set(PAPER)
    for method in METHODS.values():
        assert method.family in ("baseline", "cam", "gradient", "normgrad")
        assert method.reduction in ("signed", "absolute", "positive")
        assert method.cost in ("none", "one_pass", "many_passes", "perturbation")
        assert "all" in method.sets
    assert [m.name for m in METHODS.values() if m.clipped] == ["guided_grad_cam", "input_x_gradient", "guided_backprop"]


def test_selection_by_set_and_name_keeps_the_order_of_the_registry():
    assert [method.name for method in select_methods("guided_backprop, center,center")] == ["center", "guided_backprop"]
    assert [method.name for method in select_methods(["random", "paper"])] == list(PAPER)


def test_unknown_and_missing_names_are_told():
    with pytest.raises(UserError, match=r"no method 'gradcam'; known .*paper.* grad_cam"):
        select_methods("paper,gradcam")
    with pytest.raises(UserError, match="--methods is empty"):
        select_methods(" ,")


def test_reductions_by_hand():
    attribution = torch.tensor([[1.0, -2.0], [-3.0, 5.0]]).view(1, 2, 1, 2)
    assert reduce_channels(attribution, "absolute").flatten().tolist() == [4.0, 7.0]
    assert reduce_channels(attribution, "positive").flatten().tolist() == [1.0, 5.0]
    assert reduce_channels(attribution[:, :1], "signed").flatten().tolist() == [1.0, -2.0]
    with pytest.raises(ValueError, match="2 channels"):
        reduce_channels(attribution, "signed")


@pytest.mark.parametrize("name", PAPER)
def test_every_method_gives_one_finite_detached_map_an_image(name, context, images):
    maps = explain(name, context, images)
    assert maps.shape[:2] == (2, 1)
    assert maps.isfinite().all()
    assert not maps.requires_grad


@pytest.mark.parametrize("name", [name for name in PAPER if name != "random"])
def test_a_batch_equals_its_images_one_at_a_time(name, context, images):
    method = METHODS[name].prepare(context)
    together = method(images, TARGETS)
    for i in range(2):
        torch.testing.assert_close(
            method(images[i : i + 1], TARGETS[i : i + 1]), together[i : i + 1], rtol=2e-4, atol=1e-6
        )


def test_center_is_largest_in_the_middle():
    maps = METHODS["center"].prepare(Context(nn.Identity(), 7))(torch.zeros(1, 3, 7, 7), TARGETS[:1])
    assert maps.flatten().argmax() == 24


def test_random_follows_torchs_seed(context, images):
    torch.manual_seed(4)
    first = explain("random", context, images)
    torch.manual_seed(4)
    assert torch.equal(explain("random", context, images), first)
    assert not torch.equal(explain("random", context, images), first)


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


def test_nothing_of_the_caller_is_changed(images):
    network = SlimResNet18().eval()
    before = copy.deepcopy(network.state_dict())
    context = Context(network, 96)
    for method in METHODS.values():
        method.prepare(context)(images, TARGETS)
    assert all(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))
    assert not images.requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not module.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_guided_methods_need_relu_modules(images):
    context = Context(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.LazyLinear(2)), 96)
    with pytest.raises(UserError, match="no ReLU module"):
        METHODS["guided_backprop"].prepare(context)


def test_layer_methods_say_that_a_transformer_has_no_maps():
    transformer = VisionTransformer(32, 8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=2).eval()
    context = Context(transformer, 32)
    with pytest.raises(UserError, match="no blocks with maps"):
        METHODS["normgrad_conv1x1_combined"].prepare(context)
    maps = METHODS["input_x_gradient"].prepare(context)(torch.randn(2, 3, 32, 32), TARGETS)
    assert maps.shape == (2, 1, 32, 32)


def test_a_new_method_is_one_entry():
    method = Method("mean", "Mean", lambda context: lambda images, targets: images, "gradient", "absolute")
    maps = method.prepare(Context(nn.Identity(), 4))(-torch.ones(1, 3, 4, 4), TARGETS[:1])
    assert maps.shape == (1, 1, 4, 4)
    assert (maps == 3).all()


def test_layers_are_the_papers(network):
    assert Context(network, 96).layers == Layers("layer4.1", ("layer2.0", "layer3.0", "layer4.0", "layer4.1"))
