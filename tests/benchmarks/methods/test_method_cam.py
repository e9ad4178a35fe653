"""The CAM family against its formulas, from activations and gradients by plain autograd, and against its package."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam import AblationCAM, ScoreCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from tiny_network import SIZE
from torch import nn

from benchmarks.methods import METHODS, Context, Layers
from benchmarks.methods.cam import first_component
from benchmarks.methods.channel_scores import most_varied
from benchmarks.metrics.grid_game import with_nothing
from benchmarks.run.errors import UserError

TARGETS = torch.tensor([1, 0])


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 2 * SIZE, 2 * SIZE, generator=torch.Generator().manual_seed(2))


def explain(name, network, images, budget=300, targets=TARGETS):
    return METHODS[name].prepare(Context(network, images.shape[-1], budget))(images, targets)


@pytest.fixture(scope="module")
def last(network, images):
    """Activation and gradient of the last block."""
    outputs = []
    handle = network.layer4[0].register_forward_hook(lambda m, i, o: outputs.append(o))
    score = network(images).gather(1, TARGETS.view(-1, 1)).sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, outputs)
    return outputs[0].detach().double(), gradient.double()


def test_layer_cam(network, images, last):
    x, g = last
    expected = (g.clamp(min=0) * x).sum(dim=1, keepdim=True).clamp(min=0)
    torch.testing.assert_close(explain("layer_cam", network, images).double(), expected, rtol=1e-4, atol=1e-7)


def test_hires_cam(network, images, last):
    x, g = last
    expected = (g * x).sum(dim=1, keepdim=True).clamp(min=0)
    torch.testing.assert_close(explain("hires_cam", network, images).double(), expected, rtol=1e-4, atol=1e-7)


def test_grad_cam_plus_plus(network, images, last):
    x, g = last
    alpha = g**2 / (2 * g**2 + x.sum(dim=(2, 3), keepdim=True) * g**3 + 1e-6)
    weights = (g.clamp(min=0) * alpha).sum(dim=(2, 3), keepdim=True)
    expected = (weights * x).sum(dim=1, keepdim=True).clamp(min=0)
    torch.testing.assert_close(explain("grad_cam_plus_plus", network, images).double(), expected, rtol=1e-3, atol=1e-7)


def test_xgrad_cam(network, images, last):
    x, g = last
    weights = (g * x).sum(dim=(2, 3), keepdim=True) / (x.sum(dim=(2, 3), keepdim=True) + 1e-7)
    expected = (weights * x).sum(dim=1, keepdim=True).clamp(min=0)
    torch.testing.assert_close(explain("xgrad_cam", network, images).double(), expected, rtol=1e-3, atol=1e-7)


class _Twice(nn.Module):
    """A layer that runs twice, the second time on what came of the first, which was changed in place."""

    def __init__(self):
        super().__init__()
        self.stem, self.layer, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x, shift=0.0):
        x = F.relu(self.layer(self.stem(x)).add_(shift), inplace=True)
        return self.fc(self.layer(x).tanh().mean(dim=(2, 3)))


def test_gradients_begin_at_the_layer_however_often_it_runs(images):
    network, learns, firsts = _Twice().eval(), [], []
    shift = torch.zeros(2, 4, *(side - 2 for side in images.shape[2:]), requires_grad=True)
    handle = network.layer.register_forward_hook(lambda m, i, o: firsts.append(o.detach()))
    scores = network(images, shift).gather(1, TARGETS.view(-1, 1)).sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(scores, shift)
    expected = (gradient * firsts[0]).sum(dim=1, keepdim=True).clamp(min=0)

    network.stem.register_forward_hook(lambda m, i, o: learns.append(o.requires_grad))
    context = Context(network, images.shape[-1], layers=Layers("layer", ("layer",)))
    torch.testing.assert_close(METHODS["hires_cam"].prepare(context)(images, TARGETS), expected, rtol=1e-4, atol=1e-7)
    assert learns
    assert not learns[-1]


@pytest.mark.parametrize("name", ["eigen_cam", "eigen_grad_cam"])
def test_eigen_cams_project_on_the_first_component_and_point_up(name, network, images, last):
    x, g = last
    maps = explain(name, network, images)
    for i in range(2):
        cells = (x if name == "eigen_cam" else g * x)[i].flatten(1).T
        cells = cells - cells.mean(dim=0)
        _, vectors = torch.linalg.eigh(cells.T @ cells)
        expected = cells @ vectors[:, -1]
        expected = expected if expected.max() >= -expected.min() else -expected
        torch.testing.assert_close(maps[i].flatten().double(), expected.clamp(min=0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 6, 5), (2, 40, 3, 4), (2, 1, 2, 3)])
def test_the_first_component_is_the_package_s(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values[0, 0, 0, 0] = np.nan
    values[1] = 0.5  # without any component
    found, expected = first_component(values), get_2d_projection(values)
    signs = np.sign((found * expected).sum(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(found * signs, expected * abs(signs), atol=1e-5 * abs(expected).max())
    assert found.dtype == np.float32
    assert not found[1].any()


def test_full_grad_adds_all_biases(network, images):
    """Written out with hooks; and the parts that it adds up are the whole score, which is FullGrad's own axiom."""
    outputs, biases, handles = [], [], []
    plain = copy.deepcopy(network)
    for module in plain.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, nn.BatchNorm2d):
            scale = module.weight / (module.running_var + module.eps).sqrt()
            biases.append((module.bias - module.running_mean * scale).detach())
            handles.append(module.register_forward_hook(lambda m, i, o: outputs.append(o)))
    x = images.clone().requires_grad_()
    scores = plain(x).gather(1, TARGETS.view(-1, 1))[:, 0]
    gradients = torch.autograd.grad(scores.sum(), [x, *outputs])
    parts = [x.detach() * gradients[0]]
    parts += [b.view(1, -1, 1, 1) * g for b, g in zip(biases, gradients[1:], strict=True)]
    total = sum(part.flatten(1).sum(dim=1) for part in parts) + plain.fc.bias[TARGETS]
    torch.testing.assert_close(total, scores, rtol=1e-3, atol=1e-4)

    expected = torch.zeros(2, 1, *images.shape[2:])
    for part in parts:
        for i in range(2):
            size = part[i].abs()
            unit = (size - size.min()) / (size.max() - size.min())
            expected[i] += F.interpolate(unit[None], size=images.shape[2:], mode="bilinear")[0].sum(dim=0)
    torch.testing.assert_close(explain("full_grad", network, images), expected.detach(), rtol=1e-3, atol=1e-4)


class _OutOfOrder(nn.Module):
    """Three layers of one shape; they run in another order than they are named, and one of them twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, bias=False)
        self.late, self.early = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x, shifts=(0, 0, 0)):
        x = self.early(self.stem(x)) + shifts[0]
        x = self.early(x.sigmoid()) + shifts[1]
        x = self.late(x.tanh()) + shifts[2]
        return self.fc((x * x).mean(dim=(2, 3)))


def test_full_grad_pairs_each_bias_with_its_own_gradient_in_whatever_order_layers_run(images):
    network = _OutOfOrder().eval()
    x = images.clone().requires_grad_()
    shifts = [torch.zeros(2, 4, *(side - 2 for side in images.shape[2:]), requires_grad=True) for _ in range(3)]
    scores = network(x, shifts).gather(1, TARGETS.view(-1, 1)).sum()
    by_input, *by_shift = torch.autograd.grad(scores, [x, *shifts])
    biases = [network.early.bias, network.early.bias, network.late.bias]
    expected = torch.zeros(2, 1, *images.shape[2:])
    for part in [by_input * images, *(b.detach().view(-1, 1, 1) * g for b, g in zip(biases, by_shift, strict=True))]:
        size = part.abs()
        low, high = size.amin(dim=(1, 2, 3), keepdim=True), size.amax(dim=(1, 2, 3), keepdim=True)
        unit = ((size - low) / (high - low)).sum(dim=1, keepdim=True)
        expected += F.interpolate(unit, size=images.shape[2:], mode="bilinear")

    torch.testing.assert_close(explain("full_grad", network, images), expected)


def test_full_grad_needs_biases(images):
    network = nn.Sequential(nn.Conv2d(3, 2, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match="no convolution or batch norm"):
        explain("full_grad", network, images)


@pytest.mark.parametrize(("name", "package"), [("score_cam", ScoreCAM), ("ablation_cam", AblationCAM)])
def test_channel_scores_are_those_of_the_package_where_the_budget_is_enough(name, package, network, images):
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.fc.bias += 5  # the package turns Ablation-CAM around where a score is negative
        assert (network(images) > 0).all()
    ours = explain(name, network, images, budget=40)
    cam = package(copy.deepcopy(network), [])
    cam.target_layers = [cam.model.layer4[0]]
    cam.activations_and_grads = type(cam.activations_and_grads)(cam.model, cam.target_layers, None)
    theirs = cam(images, [ClassifierOutputTarget(target) for target in TARGETS.tolist()])
    scaled = scale_cam_image(scale_cam_image(ours[:, 0].numpy(), tuple(images.shape[-2:])))
    np.testing.assert_allclose(scaled, theirs, atol=1e-3)


def test_ablation_cam_keeps_its_sign_where_the_score_is_negative(network, images):
    lowered = copy.deepcopy(network)
    with torch.no_grad():
        score = network(images).gather(1, TARGETS.view(-1, 1))
        lowered.fc.bias -= 10
    high = explain("ablation_cam", network, images) * score.abs().view(-1, 1, 1, 1)
    low = explain("ablation_cam", lowered, images) * (score - 10).abs().view(-1, 1, 1, 1)
    torch.testing.assert_close(low, high, rtol=1e-2, atol=1e-4)


def test_ablation_cam_of_an_output_that_is_always_zero_is_zero(network, images):
    maps = explain("ablation_cam", with_nothing(network), images, targets=torch.tensor([2, 0]))
    assert not maps[0].any()
    torch.testing.assert_close(maps[1], explain("ablation_cam", network, images)[1])


def test_a_small_budget_keeps_the_channels_that_vary_most():
    activations = torch.tensor([[0.0, 1.0], [3.0, 0.0], [5.0, 5.0]]).view(1, 3, 1, 2)
    assert most_varied(activations, 2).tolist() == [[1, 0]]
    assert most_varied(activations, 9).tolist() == [[1, 0, 2]]


def test_layer_gradient_x_activation_and_the_linear_approximation_agree(network, images, last):
    x, g = last
    expected = (g * x).sum(dim=1, keepdim=True)
    for name in ("layer_gradient_x_activation", "normgrad_scaling_single_sum"):
        torch.testing.assert_close(explain(name, network, images).double(), expected, rtol=1e-4, atol=1e-7)
