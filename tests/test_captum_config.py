"""Captum's own configured cases for layer methods, and those of its Grad-CAM tests with NormGrad's numbers by hand."""

from __future__ import annotations

import copy
from math import sqrt
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from models import untouched
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad

pytest.importorskip("captum.testing", reason="captum 0.8 does not ship its test cases")
from captum.testing.attr.helpers.test_config import config
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv, BasicModel_MultiLayer

CASES = [c for c in config if {LayerGradCam, LayerGradientXActivation} & set(c["algorithms"])]
SPATIAL = [c for c in CASES if torch.as_tensor(c["attribute_args"]["inputs"][0]).dim() > 2]  # those with images


def names(cases: list[dict[str, Any]]) -> list[str]:
    return [c["name"] for c in cases]


def method_of(kind: str, case: dict[str, Any]) -> tuple[nn.Module, Any, dict[str, Any]]:
    model, args = copy.deepcopy(case["model"]), copy.deepcopy(case["attribute_args"])
    if kind == "single":
        return model, NormGrad(model, case["layer"]), args
    return model, CombinedNormGrad(model, [case["layer"]]), args


RUNS = [pytest.param("single", c, id=c["name"]) for c in CASES] + [
    pytest.param("combined", c, id=f"combined-{c['name']}") for c in SPATIAL
]


def test_captum_still_brings_the_cases_that_we_expect():
    assert {
        "conv_layer_single_target",
        "basic_layer_in_place",
        "basic_layer_multi_output",
        "basic_layer_multi_input",
        "basic_layer_multiple_target",
        "basic_layer_tensor_multiple_target",
        "basic_layer_multiple_tuple_target",
        "basic_gradient_multi_layer_multi_output",
    } <= set(names(CASES))
    assert "conv_layer_single_target" in names(SPATIAL)


def sample(value: Any, i: int, batch: int) -> Any:
    """The part of an argument that belongs to sample ``i``."""
    if isinstance(value, Tensor):
        return value[i : i + 1] if value.dim() and len(value) == batch else value
    if isinstance(value, tuple):
        return tuple(sample(v, i, batch) for v in value)
    if isinstance(value, list):
        return value[i : i + 1] if len(value) == batch else value
    return value


def flat(maps: Any) -> list[Tensor]:
    return [maps] if isinstance(maps, Tensor) else [t for m in maps for t in flat(m)]


@pytest.mark.filterwarnings("ignore:The map of layer")  # random weights: some maps are constant
@pytest.mark.parametrize(("kind", "case"), RUNS)
def test_targets_of_a_batch_are_those_of_each_sample(kind, case):
    model, method, args = method_of(kind, case)
    inputs = args["inputs"]
    batch = len(inputs[0] if isinstance(inputs, tuple) else inputs)
    with untouched(model, *(inputs if isinstance(inputs, tuple) else (inputs,))):
        together = method.attribute(**args)
    for i in range(batch):
        alone = method.attribute(
            **{k: sample(v, i, batch) if k != "target" or not isinstance(v, tuple) else v for k, v in args.items()}
        )
        assert isinstance(alone, type(together))
        for whole, part in zip(flat(together), flat(alone), strict=True):
            torch.testing.assert_close(whole[i : i + 1], part)


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_scaling_and_sum_is_captums_gradient_times_activation(case):
    model, _, args = method_of("single", case)
    layers = case["layer"]
    found = [model.get_submodule(n) for n in layers] if isinstance(layers, list) else model.get_submodule(layers)
    theirs = LayerGradientXActivation(model, found).attribute(**args)
    ours = NormGrad(model, layers, extract="scaling", aggregate="sum").attribute(**args)
    assert isinstance(ours, type(theirs))
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        torch.testing.assert_close(a, b.sum(1, keepdim=True).detach())


class Broken(nn.Module):
    def __init__(self, *_: Any) -> None:
        super().__init__()

    def forward(self, *_: Any) -> None:
        raise AssertionError("Error in forward pass")


@pytest.mark.filterwarnings("ignore:The map of layer")
@pytest.mark.parametrize("mode", ["normal", "incorrect_target", "invalid_module"])
@pytest.mark.parametrize(("kind", "case"), RUNS)
def test_hooks_are_removed(kind, case, mode):
    model, method, args = method_of(kind, case)
    if mode == "normal":
        method.attribute(**args)
    elif mode == "incorrect_target":
        with pytest.raises(AssertionError):
            method.attribute(**{**args, "target": (9999,) * 20})
    else:
        layer = case["layer"][0] if isinstance(case["layer"], list) else case["layer"]
        parent, _, name = layer.rpartition(".")
        setattr(model.get_submodule(parent), name, Broken())
        method = NormGrad(model, case["layer"]) if kind == "single" else CombinedNormGrad(model, [case["layer"]])
        with pytest.raises(AssertionError, match="Error in forward pass"):
            method.attribute(**args)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not module._backward_pre_hooks


# The cases of captum's tests/attr/layer/test_grad_cam.py. One convolution over 0..15 with two channels of ones and
# biases -50 and -75 gives (-5, 4, 31, 40) and (-30, -21, 6, 15). The head's weights are 1 for the first five entries of
# the ReLU's output and -1 for the last three: the gradient behind the convolution is (0, 1, 1, 1) and (0, 0, -1, -1).
RAMP = torch.arange(16.0).view(1, 1, 4, 4)
CONV = {
    "conv1x1": [0, sqrt(457), sqrt(2 * 997), sqrt(2 * 1825)],
    "scaling": [0, 4, sqrt(997), sqrt(1825)],
    "bias": [0, 1, sqrt(2), sqrt(2)],
    "scaling sum": [0, 4, 25, 25],
    "scaling positive_norm": [0, 4, 31, 40],
    "scaling max": [0, 4, 31, 40],
    "conv1x1 max": [0, 4, 31, 40],
    "conv1x1 positive_norm": [0, 4, sqrt(997), sqrt(1825)],
    "conv1x1 sum": [0, -17, 0, 0],
    "bias sum": [0, 1, 0, 0],
}


def normgrad(model: nn.Module, layer: str, cell: str, inputs: Any, **kwargs: Any) -> Any:
    extract, _, aggregate = cell.partition(" ")
    method = NormGrad(model, layer, extract=extract, aggregate=aggregate or "norm")
    assert method.multiplies_by_inputs is False
    return method.attribute(inputs, target=0, **kwargs)


def square(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).view(1, 1, round(sqrt(len(numbers))), -1)


@pytest.mark.parametrize(
    ("cell", "expected"), [("conv1x1", 400 * sqrt(3)), ("scaling", 400), ("bias", 4 * sqrt(3)), ("scaling sum", 400)]
)
def test_input_without_space(cell, expected):
    inputs = torch.tensor([[0.0, 100.0, 0.0]], requires_grad=True)
    torch.testing.assert_close(
        normgrad(BasicModel_MultiLayer(), "linear0", cell, inputs), torch.tensor([[float(expected)]])
    )
    assert inputs.grad is None


@pytest.mark.parametrize(("cell", "expected"), [("conv1x1", 14 * sqrt(3)), ("scaling", 7 * sqrt(3)), ("bias", 2)])
def test_layer_with_several_tensors(cell, expected):
    model = BasicModel_MultiLayer(multi_input_module=True)
    maps = normgrad(model, "multi_relu", cell, torch.tensor([[0.0, 6.0, 0.0]]))
    torch.testing.assert_close(maps, (torch.tensor([[float(expected)]]),) * 2)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("cell", CONV)
def test_convolution(cell, frozen, inplace):
    model = BasicModel_ConvNet_One_Conv(inplace=inplace).requires_grad_(not frozen)
    torch.testing.assert_close(normgrad(model, "conv1", cell, RAMP), square(CONV[cell]))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("conv1x1", [0, 4 * sqrt(2), sqrt(2 * 997), sqrt(2 * 1825)]),
        ("bias", [sqrt(2)] * 4),
        ("bias sum", [2, 0, 0, 0]),
        ("scaling sum", [0, 4, 25, 25]),
    ],
)
def test_relu(cell, expected, inplace):
    model = BasicModel_ConvNet_One_Conv(inplace=inplace)
    torch.testing.assert_close(normgrad(model, "relu1", cell, RAMP), square(expected))


def test_negative_values_of_the_layers_input():
    inputs = RAMP.clone()
    inputs[0, 0, 1, 1] = -4  # the gradient is one in the lower left 3 x 3 pixels, else zero
    inputs.requires_grad_()
    for cell, centre in (("conv1x1", 4), ("scaling", 4), ("scaling sum", -4), ("conv1x1 positive_norm", 0)):
        expected = square([0, 0, 0, 0, 4, centre, 6, 0, 8, 9, 10, 0, 12, 13, 14, 0])
        actual = normgrad(BasicModel_ConvNet_One_Conv(), "conv1", cell, inputs, attribute_to_layer_input=True)
        torch.testing.assert_close(actual, expected)
    assert inputs.grad is None


def test_two_inputs():
    for cell, expected in {
        "conv1x1": [sqrt(457), sqrt(313), sqrt(2 * 1825), sqrt(2 * 2977)],
        "scaling sum": [4, 13, 25, 25],
    }.items():
        actual = normgrad(BasicModel_ConvNet_One_Conv(), "conv1", cell, (RAMP, torch.ones(1, 1, 4, 4)))
        torch.testing.assert_close(actual, square(expected))


def test_unused_layer():
    model = BasicModel_MultiLayer(multi_input_module=True)
    x = torch.tensor([[0.0, 6.0, 0.0]])
    assert normgrad(model, "relu", "conv1x1", x, grad_kwargs={"materialize_grads": True}).tolist() == [[0.0]]
    with pytest.raises(
        RuntimeError, match=r"'relu' \(ReLU\) ran, but the target does not depend on it.*materialize_gr"
    ):
        normgrad(model, "relu", "conv1x1", x)
