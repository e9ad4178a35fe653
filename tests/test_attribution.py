"""NormGrad and CombinedNormGrad on whole networks, against Captum and against themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam, LayerGradientXActivation
from models import ROUNDING
from torch import nn
from torchvision.models import resnet18

from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr._combine import minmax, resize
from normgrad_attr._extract import EXTRACTS
from normgrad_attr.functional import normgrad_map

LAYERS = ["layer1.1", "layer2.0", "layer3.0", "layer4.1"]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    with torch.device("cpu"):  # the same weights wherever it runs
        network = resnet18(num_classes=5)
    return network.double().eval().to(torch.get_default_device())


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(3, 3, 64, 48, dtype=torch.float64, device="cpu").to(torch.get_default_device())


@pytest.mark.parametrize("layer", LAYERS)
def test_scaling_sum_is_gradient_x_activation(model, images, layer):
    target = [1, 4, 0]
    expected = LayerGradientXActivation(model, model.get_submodule(layer)).attribute(images, target)
    actual = NormGrad(model, layer, extract="scaling", aggregate="sum").attribute(images, target)
    torch.testing.assert_close(actual, expected.sum(1, keepdim=True).detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_averaging_the_gradient_over_space_gives_grad_cam(model, images, layer):
    kept = {}
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.update(x=o.clone()))
    score = model(images)[:, 2].sum()
    handle.remove()
    kept_again = {}

    def replace(m, i, o):
        kept_again["x"] = o.detach().requires_grad_()
        return kept_again["x"].clone()

    handle = model.get_submodule(layer).register_forward_hook(replace)
    score = model(images)[:, 2].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept_again["x"])
    mean = gradient.mean((2, 3), keepdim=True).expand_as(gradient)
    actual = normgrad_map(kept["x"].detach(), mean, extract="scaling", aggregate="sum")
    expected = LayerGradCam(model, model.get_submodule(layer)).attribute(images, 2).detach()
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("extract", ["conv1x1", "conv3x3", "scaling"])
def test_a_network_against_the_oracle(extract):
    # The head of the oracle is the rest of the network behind the layer.
    front = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True)).double()
    rest = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2)).double()
    x = torch.rand(2, 2, 6, 6, dtype=torch.float64)
    actual = NormGrad(nn.Sequential(front, rest), front, extract=extract).attribute(x, target=1)
    expected = oracle.normgrad(front(x).detach(), lambda y: rest(y)[:, 1], extract, "norm")
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("extract", [*EXTRACTS])
@pytest.mark.parametrize("aggregate", ["norm", "positive_norm", "sum", "positive_sum", "max"])
def test_a_batch_equals_its_samples(model, images, extract, aggregate):
    target = torch.tensor([0, 3, 1])
    method = NormGrad(model, LAYERS, extract=extract, aggregate=aggregate)
    together = method.attribute(images, target)
    for i in range(3):
        alone = method.attribute(images[i : i + 1], target[i : i + 1])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i : i + 1], b, rtol=1e-9, atol=1e-12)


def test_list_gives_each_layers_own_map_in_the_given_order(model, images):
    reverse = [*LAYERS[::-1], LAYERS[0]]
    maps = NormGrad(model, reverse).attribute(images, 1)
    assert isinstance(maps, list)
    for layer, actual in zip(reverse, maps, strict=True):
        torch.testing.assert_close(actual, NormGrad(model, layer).attribute(images, 1), rtol=1e-10, atol=1e-12)


def test_grid_gives_the_same_as_cell_by_cell(model, images):
    grid = NormGrad(model, "layer3.0").attribute_grid(images, 1)
    assert len(grid) == 25
    for (extract, aggregate), actual in grid.items():
        expected = NormGrad(model, "layer3.0", extract=extract, aggregate=aggregate).attribute(images, 1)
        torch.testing.assert_close(actual, expected, rtol=ROUNDING, atol=ROUNDING)


def test_one_forward_and_one_backward_whatever_the_number_of_layers(model, images):
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        CombinedNormGrad(model, LAYERS).attribute(images, 1)
    finally:
        handle.remove()
    assert len(calls) == 1


def test_product_with_weights_of_one_is_the_product_of_separate_maps(model, images):
    product = torch.ones(3, 1, 64, 48, dtype=torch.float64)
    for layer in LAYERS:
        product = product * minmax(resize(NormGrad(model, layer).attribute(images, 1), (64, 48)))
    actual = CombinedNormGrad(model, LAYERS, weights=[1] * 4).attribute(images, 1)
    torch.testing.assert_close(actual, minmax(product), rtol=1e-9, atol=1e-12)


def test_each_layer_may_have_a_cell_of_its_own_from_one_pass(model, images):
    layers = ["layer1.1", "layer2.1.conv2", "layer4.1"]
    extracts, aggregates = ["conv3x3", "layer", "scaling"], ("norm", "max", "positive_sum")
    product = torch.ones(3, 1, 64, 48, dtype=torch.float64)
    for layer, extract, aggregate in zip(layers, extracts, aggregates, strict=True):
        alone = NormGrad(model, layer, extract=extract, aggregate=aggregate).attribute(images, 1)
        product = product * minmax(resize(alone, (64, 48)))
    method = CombinedNormGrad(model, layers, extract=extracts, aggregate=aggregates, weights=[1] * 3)
    assert (method.extract, method.aggregate) == (extracts, aggregates)
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        actual = method.attribute(images, 1)
    finally:
        handle.remove()
    assert len(calls) == 1
    torch.testing.assert_close(actual, minmax(product), rtol=1e-9, atol=1e-12)
    # One name stands for all layers, in either argument.
    mixed = CombinedNormGrad(model, layers[::2], extract="scaling", aggregate=["norm", "positive_sum"])
    pairs = CombinedNormGrad(model, layers[::2], extract=["scaling"] * 2, aggregate=["norm", "positive_sum"])
    assert (mixed.extract, CombinedNormGrad(model, layers).extract) == ("scaling", "conv1x1")
    torch.testing.assert_close(mixed.attribute(images, 1), pairs.attribute(images, 1), rtol=ROUNDING, atol=ROUNDING)


def test_combined_map_is_at_the_inputs_size_or_another(model, images):
    method = CombinedNormGrad(model, LAYERS)
    assert method.attribute(images, 1).shape == (3, 1, 64, 48)
    assert method.attribute(images, 1, output_size=(10, 20)).shape == (3, 1, 10, 20)
    expanded = method.attribute(images, 1, expand_as_inputs=True)
    assert expanded.shape == images.shape
    assert expanded.is_contiguous()
    assert method.attribute((images,), 1)[0].shape == (3, 1, 64, 48)
    with pytest.raises(ValueError, match="expand_as_inputs"):
        method.attribute(images, 1, output_size=(10, 20), expand_as_inputs=True)
    with pytest.raises(
        ValueError, match=r"output_size=\(8,\) is not one number for each of the 2 spatial dimensions of input 0"
    ):
        method.attribute(images, 1, output_size=(8,))


def test_single_layer_may_be_given_bare(model, images):
    bare = CombinedNormGrad(model, "layer4.1").attribute(images, 1)
    torch.testing.assert_close(bare, CombinedNormGrad(model, ["layer4.1"]).attribute(images, 1))


def test_layer_input(model, images):
    at_input = NormGrad(model, "layer4.1").attribute(images, 1, attribute_to_layer_input=True)
    torch.testing.assert_close(at_input, NormGrad(model, "layer4.0").attribute(images, 1))


def test_maps_are_interpolated_like_captums(model, images):
    maps = NormGrad(model, "layer4.1").attribute(images, 1)
    up = LayerAttribution.interpolate(maps, (64, 48), "bilinear")
    torch.testing.assert_close(up, resize(maps, (64, 48)))


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)), (2, 2, 20)),
        (nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)), (2, 1, 6, 7, 8)),
    ],
    ids=["1d", "3d"],
)
@pytest.mark.parametrize("extract", EXTRACTS)
def test_signals_and_volumes(network, shape, extract):
    x = torch.rand(shape)
    network.eval()(x)
    assert NormGrad(network, "1", extract=extract).attribute(x, 1).shape == (2, 1, *[s - 2 for s in shape[2:]])
    assert CombinedNormGrad(network, ["0", "1"], extract=extract).attribute(x, 1).shape == (2, 1, *shape[2:])


def test_dense_layers_have_no_map_to_combine(model, images):
    assert NormGrad(model, "fc").attribute(images, 1).shape == (3, 1)
    with pytest.raises(ValueError, match=r"'fc'.*cannot be laid out"):
        CombinedNormGrad(model, ["layer4.1", "fc"]).attribute(images, 1)


def test_input_without_space():
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).eval()
    with pytest.raises(ValueError, match="no spatial size"):
        CombinedNormGrad(network, ["0"]).attribute(torch.rand(2, 4), 1)


def test_map_that_is_not_finite_is_reported():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.LazyLinear(2)).eval()
    x = torch.rand(2, 1, 3, 3)
    network(x)
    x[1, 0, 0, 0] = float("nan")
    with pytest.warns(UserWarning, match="'0'.*not finite"):
        maps = NormGrad(network, "0").attribute(x, 1)
    assert maps[0].isfinite().all()
    with pytest.warns(UserWarning, match="'0'.*not finite") as record:
        CombinedNormGrad(network, ["0"]).attribute(x, 1)
    assert len(record) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer": "layer4.9"}, ValueError, "no layer named 'layer4.9'; did you mean 'layer4"),
        ({"layer": 3}, TypeError, "module or a dotted name|Module or a dotted name"),
        ({"layer": []}, ValueError, "empty"),
        ({"layer": "layer4", "extract": "conv2x2"}, ValueError, "odd K"),
        ({"layer": "layer4", "aggregate": "mean"}, ValueError, "'positive_norm'"),
    ],
)
def test_bad_arguments_of_normgrad(model, arguments, error, message):
    with pytest.raises(error, match=message):
        NormGrad(model, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"combine": "mean"}, "'product' or 'sum'"),
        ({"weights": "quadratic"}, "'uniform', 'linear'"),
        ({"weights": [1.0]}, "1 weights were given for 2 layers"),
        ({"weights": [1.0, -1.0]}, "not negative"),
        ({"extract": ["conv1x1"] * 3}, "extract has 3 names for 2 layers; give one name for all, or one for each"),
        ({"aggregate": ["norm"]}, "aggregate has 1 names for 2 layers"),
        ({"aggregate": []}, "aggregate has 0 names for 2 layers"),
        ({"extract": ["scaling", "conv2x2"]}, "odd K"),
        ({"aggregate": ("norm", "mean")}, "'positive_norm'"),
        ({"aggregate": {"layer3": "norm"}}, "'positive_norm'"),
    ],
)
def test_bad_arguments_of_combined(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        CombinedNormGrad(model, ["layer3", "layer4"], **arguments)


@pytest.mark.parametrize("method", [NormGrad, CombinedNormGrad])
def test_the_output_comes_with_the_maps_from_the_same_forward(model, images, method):
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        maps, output = method(model, LAYERS[2:]).attribute(images, 1, return_output=True)
    finally:
        hook.remove()
    assert len(calls) == 1
    assert not output.requires_grad
    torch.testing.assert_close(output, model(images).detach())
    torch.testing.assert_close(maps, method(model, LAYERS[2:]).attribute(images, 1))


def test_the_output_is_part_of_the_graph_that_is_asked_for(model, images):
    method = NormGrad(model, LAYERS[-1])
    _, output = method.attribute(images, 1, grad_kwargs={"create_graph": True}, return_output=True)
    assert output.requires_grad


@pytest.mark.parametrize("power", [1, 2.5])
def test_the_class_sensitive_recipe_is_norms_times_positive_activation_x_gradient(model, images, power):
    *early, last = LAYERS
    evidence = LayerGradientXActivation(model, model.get_submodule(last)).attribute(images, 2).sum(1, keepdim=True)
    norms = NormGrad(model, early).attribute(images, 2)
    expected = minmax(resize(evidence.detach().clamp(min=0), images.shape[2:])) ** power
    for norm in norms:
        expected = expected * minmax(resize(norm, images.shape[2:]))
    method = CombinedNormGrad.class_sensitive(model, LAYERS, power=power)
    torch.testing.assert_close(method.attribute(images, 2), minmax(expected))


@pytest.mark.parametrize("power", [0.0, -1.0, float("inf"), float("nan")])
def test_a_power_that_is_none_is_refused(model, power):
    with pytest.raises(ValueError, match="power of the last layer must be positive"):
        CombinedNormGrad.class_sensitive(model, LAYERS, power=power)


@pytest.fixture
def two_kinds() -> tuple[nn.Module, torch.Tensor]:
    """A network that counts red for class 0 and green for class 1, and an image with a red and a green square."""
    features = nn.Sequential(nn.AvgPool2d(1), nn.Conv2d(3, 3, 1, bias=False))
    head = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        features[1].weight.copy_(torch.eye(3)[:, :, None, None])
        head.weight.copy_(torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, -1.0, 0.0]]))
    image = torch.zeros(1, 3, 12, 12)
    image[0, 0, 2:5, 2:5] = 1.0
    image[0, 1, 7:11, 6:10] = 1.2
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval(), image


def test_the_class_sensitive_recipe_shows_the_class_that_is_asked_for(two_kinds):
    model, image = two_kinds
    layers = ["0.0", "0.1"]
    red, green = image[:, :1] > 0, image[:, 1:2] > 0
    norm = CombinedNormGrad(model, layers)
    torch.testing.assert_close(norm.attribute(image, 0), norm.attribute(image, 1))
    recipe = CombinedNormGrad.class_sensitive(model, layers)
    assert torch.equal(recipe.attribute(image, 0) > 0, red)
    assert torch.equal(recipe.attribute(image, 1) > 0, green)
    with pytest.warns(UserWarning, match="nothing speaks for the target"):
        nowhere = recipe.attribute(image, 2)
    assert nowhere.abs().max() == 0


@pytest.mark.parametrize("target", [np.int64(1), np.array([1, 1]), torch.tensor([1, 1], dtype=torch.uint8)])
def test_targets_as_argmax_of_numpy_gives_them(target: Any) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).eval(), torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(NormGrad(model, "0").attribute(x, target), NormGrad(model, "0").attribute(x, 1))
