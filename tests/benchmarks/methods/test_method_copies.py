"""Networks rewritten for DeepLift, and what DeepLift and LRP give on networks where the truth is known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from captum.attr import DeepLift
from tiny_network import SIZE, Chain
from torch import nn

from benchmarks.methods import METHODS, Context
from benchmarks.methods.chain import check_chain
from benchmarks.methods.copies import rewritten
from benchmarks.run.errors import UserError

TARGETS = torch.tensor([1, 0])


def test_a_rewritten_network_computes_the_same(network, images):
    copy = rewritten(network, images[:1])
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(copy(images), expected)
        torch.testing.assert_close(copy(images), expected)  # the turns begin anew with each forward
        with pytest.raises(RuntimeError):
            copy(images[:, :2])  # fails on the way
        torch.testing.assert_close(copy(images), expected)


def test_in_a_rewritten_network_each_activation_runs_once(network, images):
    calls = []
    copy = rewritten(network, images[:1])
    for module in copy.modules():
        if isinstance(module, (nn.ReLU, nn.MaxPool2d)):
            module.register_forward_hook(lambda m, i, o: calls.append(m))
    copy(images)
    assert len(calls) == len(set(calls)) == 1 + 1 + 4 * 2


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 1, 0), ((2, 3), (1, 2), (1, 0))])
def test_windows_side_by_side_pool_to_the_same(kernel, stride, padding):
    x = torch.randn(2, 3, 11, 12, generator=torch.Generator().manual_seed(0)) - 3  # padding with zeros would show
    network = nn.Sequential(nn.MaxPool2d(kernel, stride, padding))
    assert torch.equal(rewritten(network, x)(x), F.max_pool2d(x, kernel, stride, padding))


def test_deep_lift_adds_up_on_a_residual_network(network, images):
    context = Context(network, SIZE)
    METHODS["deep_lift"].prepare(context)
    with pytest.warns(UserWarning, match="hooks"):
        contributions = DeepLift(context.rewritten_network).attribute(images.requires_grad_(), target=TARGETS)
    contributions = contributions.detach().flatten(1).sum(dim=1)
    with torch.no_grad():
        difference = (network(images) - network(torch.zeros_like(images))).gather(1, TARGETS.view(-1, 1))[:, 0]
    torch.testing.assert_close(contributions, difference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "layers",
    [(nn.ReLU(), nn.MaxPool2d(2)), (nn.MaxPool2d(2), nn.ReLU()), (nn.MaxPool2d(2), nn.MaxPool2d(2))],
)
def test_deep_lift_adds_up_where_activations_follow_each_other(layers, images):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), *layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2)
    )
    network.double().eval()
    image, reference = images.detach().double().requires_grad_().split(1)
    copy = rewritten(network, image)
    with pytest.warns(UserWarning, match="hooks"):
        contributions = DeepLift(copy).attribute(image, reference, target=0)
    difference = (network(image) - network(reference))[0, 0]
    torch.testing.assert_close(contributions.sum(), difference, rtol=1e-9, atol=1e-9)


def test_deep_lift_shap_is_the_mean_over_clean_training_films():
    weights = torch.randn(2, 3 * 8 * 8, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    network[1].weight = nn.Parameter(weights)
    films = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 0, 0, 1, 0])
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    maps = METHODS["deep_lift_shap"].prepare(Context(network, 8, 20, lambda: [(films, labels)]))(images, TARGETS)
    contributions = weights[TARGETS].view(2, 3, 8, 8) * (images - films[labels == 0].mean(dim=0))
    torch.testing.assert_close(maps, contributions.abs().sum(dim=1, keepdim=True), rtol=1e-3, atol=1e-4)


def test_methods_that_learn_from_films_say_that_there_are_none(network):
    for name in ("deep_lift_shap", "gradient_shap", "normgrad_conv1x1_combined_probe"):
        with pytest.raises(UserError, match="training films, and there are none"):
            METHODS[name].prepare(Context(network, SIZE))
    films = torch.randn(3, 3, SIZE, SIZE)
    context = Context(network, SIZE, training=lambda: [(films, torch.tensor([0, 1, 1]))])
    with pytest.raises(UserError, match="needs two at least"):
        METHODS["gradient_shap"].prepare(context)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean(dim=(2, 3)))


def test_deep_lift_refuses_activations_that_it_cannot_see():
    torch.manual_seed(0)
    with pytest.raises(UserError, match="miss the difference of scores"):
        METHODS["deep_lift"].prepare(Context(Functional().eval(), 16))


def test_lrp_distributes_the_score_of_a_chain(images):
    torch.manual_seed(0)
    network = Chain().eval()
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.zeros_(module.bias)  # without biases all of the score is the pixels'
    maps = METHODS["lrp"].prepare(Context(network, SIZE))(images, TARGETS)
    with torch.no_grad():
        score = network(images).gather(1, TARGETS.view(-1, 1))[:, 0]
    torch.testing.assert_close(maps.flatten(1).sum(dim=1), score, rtol=1e-2, atol=1e-4)


def test_lrp_says_what_stands_in_its_way(network):
    with pytest.raises(UserError, match=r"LRP .* branches behind maxpool"):
        METHODS["lrp"].prepare(Context(network, SIZE))
    with pytest.raises(UserError, match="computes 'relu' without a module"):
        check_chain(Functional())
    relu = nn.ReLU()
    with pytest.raises(UserError, match="0 runs several times"):
        check_chain(nn.Sequential(relu, nn.Linear(2, 2), relu))
