"""What the library needs of captum. If this fails after an upgrade of captum, mend ``normgrad_attr/_captum.py``."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import captum.attr
import pytest
import torch
from captum.attr import LayerGradCam

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
