"""What the library needs of captum. If this fails after an upgrade of captum, mend ``normgrad_attr/_captum.py``."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr import Attribution, LayerAttribution, LayerGradCam, LayerGradientXActivation, NoiseTunnel
from captum.metrics import infidelity, sensitivity_max
from models import Net, build, images, untouched
from torch import Tensor, nn

import normgrad_attr
from normgrad_attr import CombinedNormGrad, NormGrad

PACKAGE = Path(normgrad_attr.__file__).parent


def imported_from_captum(path: Path) -> list[tuple[str, str]]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "captum":
            names += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [(a.name, "") for a in node.names if a.name.split(".")[0] == "captum"]
    return names


NEEDED = imported_from_captum(PACKAGE / "_captum.py")


def test_only_one_module_imports_captum():
    others = {p.name: imported_from_captum(p) for p in PACKAGE.rglob("*.py") if p.name != "_captum.py"}
    private = {
        name: imports
        for name, imports in others.items()
        if any(module not in ("captum.attr", "captum.metrics") for module, _ in imports)
    }
    assert not private


@pytest.mark.parametrize(("module", "name"), NEEDED)
def test_captum_still_has_what_we_import(module, name):
    assert hasattr(importlib.import_module(module), name), (
        f"captum {captum.__version__} has no {module}.{name} any more: adapt normgrad_attr/_captum.py and the "
        "bounds of captum in pyproject.toml"
    )


def test_the_private_functions_still_take_what_we_pass():
    from captum._utils.common import _run_forward, _select_targets

    assert list(inspect.signature(_run_forward).parameters)[:4] == [
        "forward_func",
        "inputs",
        "target",
        "additional_forward_args",
    ]
    assert list(inspect.signature(_select_targets).parameters) == ["output", "target"]
    output = torch.arange(12.0).view(2, 3, 2)
    assert _run_forward(lambda a, b, c: a + b * c, (output, output), None, (3,)).equal(4 * output)
    assert _select_targets(output, (2, 1)).tolist() == [5, 11]
    assert _select_targets(output, [(0, 1), (2, 0)]).tolist() == [1, 10]
    assert _select_targets(output[..., 0], torch.tensor([2, 0])).tolist() == [4, 6]
    assert _select_targets(output, None) is output


def test_public_bases_are_captums():
    assert issubclass(NormGrad, captum.attr.LayerAttribution)
    assert issubclass(NormGrad, captum.attr.GradientAttribution)
    assert issubclass(CombinedNormGrad, captum.attr.GradientAttribution)
    assert not issubclass(CombinedNormGrad, captum.attr.LayerAttribution)  # it is shaped as the input
    assert [c.__name__ for c in NormGrad.__mro__[1:5]] == [c.__name__ for c in LayerGradCam.__mro__[1:5]]


def positional(function) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


def test_argument_order_is_that_of_layer_grad_cam():
    ours, theirs = positional(NormGrad.__init__), positional(LayerGradCam.__init__)
    assert ours == theirs == ["self", "forward_func", "layer", "device_ids"]
    theirs = [p for p in positional(LayerGradCam.attribute) if p not in ("relu_attributions", "attr_dim_summation")]
    assert positional(NormGrad.attribute) == theirs
    combined = positional(CombinedNormGrad.attribute)
    assert combined[: len(theirs) - 1] == theirs[:-1]
    assert combined[-1] == "grad_kwargs"
    defaults = {name: p.default for name, p in inspect.signature(LayerGradCam.attribute).parameters.items()}
    for method in (NormGrad, CombinedNormGrad):
        for name, p in inspect.signature(method.attribute).parameters.items():
            assert p.default == defaults.get(name, p.default), name


@pytest.mark.parametrize("method", [NormGrad, CombinedNormGrad])
def test_attribute_can_be_unwrapped_as_noise_tunnel_does(method):
    assert list(inspect.signature(method.attribute.__wrapped__).parameters)[:2] == ["self", "inputs"]


def test_attributes_of_captums_classes():
    net = Net().eval()
    single, combined = NormGrad(net, "block"), CombinedNormGrad(net, ["block"])
    assert single.get_name() == "Norm Grad"
    assert combined.get_name() == "Combined Norm Grad"
    for method in (single, combined):
        assert isinstance(method, Attribution)
        assert method.multiplies_by_inputs is False
        assert method.has_convergence_delta() is False
        assert method.forward_func is net
    assert single.layer is net.block
    assert single.device_ids is None
    maps = single.attribute(images(), 1)
    for resized in (
        LayerAttribution.interpolate(maps, (12, 12), "bilinear"),
        single.interpolate(maps, (12, 12), "bilinear"),
    ):
        torch.testing.assert_close(
            resized, nn.functional.interpolate(maps, (12, 12), mode="bilinear", align_corners=False)
        )


def test_argument_order_as_in_layer_grad_cam():
    net, x = Net().eval(), images()
    args = (x, 1, None, True)
    theirs = LayerGradientXActivation(net, net.block).attribute(*args).sum(1, keepdim=True).detach()
    torch.testing.assert_close(
        NormGrad(net, net.block, None, extract="scaling", aggregate="sum").attribute(*args), theirs
    )


# What wraps us.


def build_net(kind: str) -> tuple[nn.Module, Any]:
    net = Net().eval()
    return net, build(kind, net, "block") if kind == "single" else build(kind, net, "conv1", "block")


@pytest.mark.parametrize("kind", ["single", "combined"])
@pytest.mark.parametrize("as_tuple", [False, True])
def test_noise_tunnel(kind, as_tuple):
    net, method = build_net(kind)
    x = images()
    inputs = (x,) if as_tuple else x
    torch.manual_seed(3)
    with untouched(net, x):
        smooth = NoiseTunnel(method).attribute(inputs, nt_samples=4, stdevs=0.5, target=[1, 2])
    torch.manual_seed(3)
    noisy = torch.normal(x.repeat_interleave(4, 0), torch.full_like(x.repeat_interleave(4, 0), 0.5))
    expected = method.attribute(noisy, [1, 1, 1, 1, 2, 2, 2, 2]).unflatten(0, (2, 4)).mean(1)
    if kind == "combined":
        assert isinstance(smooth, tuple) == as_tuple
    actual = smooth[0] if isinstance(smooth, tuple) else smooth
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected)


def test_noise_tunnel_without_noise_is_the_map_itself_for_each_type():
    _, method = build_net("combined")
    x = images()
    plain_map = method.attribute(x, 1)
    for kind, expected in (("smoothgrad", plain_map), ("smoothgrad_sq", plain_map**2), ("vargrad", 0 * plain_map)):
        actual = NoiseTunnel(method).attribute(x, nt_type=kind, nt_samples=3, stdevs=0.0, target=1)
        torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)


def shift(inputs: Any) -> Any:
    return tuple(t + 0.1 for t in inputs) if isinstance(inputs, tuple) else inputs + 0.1


@pytest.mark.parametrize("expand", [False, True])
def test_sensitivity(expand):
    net, method = build_net("combined")
    x = images()
    with untouched(net, x):
        actual = sensitivity_max(
            method.attribute, x, perturb_func=shift, n_perturb_samples=3, target=[1, 2], expand_as_inputs=expand
        )
    before, after = (method.attribute(t, [1, 2], expand_as_inputs=expand).flatten(1) for t in (x, x + 0.1))
    torch.testing.assert_close(actual, (after - before).norm(dim=1) / before.norm(dim=1))


def test_sensitivity_in_channels_last():
    net, method = build_net("combined")
    x = images()
    net.to(memory_format=torch.channels_last)
    strided = x.to(memory_format=torch.channels_last)
    values = [
        sensitivity_max(method.attribute, t, perturb_func=shift, target=1, expand_as_inputs=True) for t in (x, strided)
    ]
    torch.testing.assert_close(*values)


def test_infidelity():
    net, method = build_net("combined")
    x = images()
    maps = method.attribute(x, [1, 2], expand_as_inputs=True)
    assert maps.shape == x.shape

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(inputs, 0.25), inputs - 0.25

    with untouched(net, x, maps):
        actual = infidelity(net, perturb, x, maps, target=[1, 2], n_perturb_samples=3)
    dropped = (net(x) - net(x - 0.25)).detach()[[0, 1], [1, 2]]
    torch.testing.assert_close(actual, (0.25 * maps.flatten(1).sum(1) - dropped) ** 2)


def test_visualization():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from captum.attr import visualization
    from matplotlib import pyplot

    _, method = build_net("combined")
    x = images()
    for one, image in zip(method.attribute(x, 1), x, strict=True):
        values = one.permute(1, 2, 0).numpy()
        for how in ("heat_map", "blended_heat_map", "masked_image"):
            shown = image.permute(1, 2, 0).clamp(0, 1).numpy()
            figure, axes = visualization.visualize_image_attr(
                values, shown, method=how, sign="positive", use_pyplot=False, outlier_perc=0
            )
            if how == "heat_map":
                np.testing.assert_allclose(axes.images[0].get_array(), values[..., 0], atol=1e-6)
            pyplot.close(figure)
