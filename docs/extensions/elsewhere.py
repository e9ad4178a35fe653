"""Links to other projects' documentation without their inventories, which would need a network at build time.

A name that is neither ours nor in this table is an unresolved reference, and ``-n -W`` stops the build.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_TORCH = "https://docs.pytorch.org/docs/stable"
_CAPTUM = "https://captum.ai/api"
_NUMPY = "https://numpy.org/doc/stable/reference"
_PYTHON = "https://docs.python.org/3/library"

PAGES = {
    "torch.Tensor": f"{_TORCH}/tensors.html#torch.Tensor",
    "torch.nn.Module": f"{_TORCH}/generated/torch.nn.Module.html#torch.nn.Module",
    "torch.autograd.grad": f"{_TORCH}/generated/torch.autograd.grad.html#torch.autograd.grad",
    "torch.nn.functional.pad": f"{_TORCH}/generated/torch.nn.functional.pad.html#torch.nn.functional.pad",
    "captum.attr.Attribution": f"{_CAPTUM}/attribution.html#captum.attr.Attribution",
    "captum.attr.LayerGradCam": f"{_CAPTUM}/layer.html#captum.attr.LayerGradCam",
    "captum.attr.LayerAttribution": f"{_CAPTUM}/layer.html",
    "captum.attr.GradientAttribution": f"{_CAPTUM}/base_classes.html",
    "captum.attr.NoiseTunnel": f"{_CAPTUM}/noise_tunnel.html#captum.attr.NoiseTunnel",
    "captum.metrics.infidelity": f"{_CAPTUM}/metrics.html#captum.metrics.infidelity",
    "captum.metrics.sensitivity_max": f"{_CAPTUM}/metrics.html#captum.metrics.sensitivity_max",
    "torchmetrics.Metric": "https://lightning.ai/docs/torchmetrics/stable/references/metric.html#torchmetrics.Metric",
    "torch.utils.data.Dataset": f"{_TORCH}/data.html#torch.utils.data.Dataset",
    "numpy.ndarray": f"{_NUMPY}/generated/numpy.ndarray.html#numpy.ndarray",
    "numpy.dtype": f"{_NUMPY}/generated/numpy.dtype.html#numpy.dtype",
    **{
        f"numpy.{name}": f"{_NUMPY}/arrays.scalars.html#numpy.{name}"
        for name in ("bool", "float32", "float64", "int64", "uint8")
    },
    "collections.abc.Callable": f"{_PYTHON}/collections.abc.html#collections.abc.Callable",
    "collections.abc.Iterable": f"{_PYTHON}/collections.abc.html#collections.abc.Iterable",
    "collections.abc.Mapping": f"{_PYTHON}/collections.abc.html#collections.abc.Mapping",
    "collections.abc.Sequence": f"{_PYTHON}/collections.abc.html#collections.abc.Sequence",
    "dataclasses.field": f"{_PYTHON}/dataclasses.html#dataclasses.field",
    "pathlib.Path": f"{_PYTHON}/pathlib.html#pathlib.Path",
    "typing.Any": f"{_PYTHON}/typing.html#typing.Any",
    **{
        name: f"{_PYTHON}/stdtypes.html#{anchor}"
        for name, anchor in {"int": "numeric-types-int-float-complex", "float": "numeric-types-int-float-complex",
                             "str": "str", "bool": "boolean-type-bool", "dict": "dict", "list": "list",
                             "tuple": "tuple", "type": "type-objects"}.items()
    },
    "None": f"{_PYTHON}/constants.html#None",
    "object": f"{_PYTHON}/functions.html#object",
    **{
        error: f"{_PYTHON}/exceptions.html#{error}"
        for error in ("AssertionError", "IndexError", "RuntimeError", "TypeError", "ValueError", "OSError",
                      "KeyError", "ImportError")
    },
}  # fmt: skip
ALIASES = {
    "Tensor": "torch.Tensor",
    "nn.Module": "torch.nn.Module",
    "Module": "torch.nn.Module",
    "torch.nn.modules.module.Module": "torch.nn.Module",
    "torch._tensor.Tensor": "torch.Tensor",
    "captum.attr._utils.attribution.Attribution": "captum.attr.Attribution",
    "captum.attr._utils.attribution.LayerAttribution": "captum.attr.LayerAttribution",
    "captum.attr._utils.attribution.GradientAttribution": "captum.attr.GradientAttribution",
    "torchmetrics.metric.Metric": "torchmetrics.Metric",
    "torch.utils.data.dataset.Dataset": "torch.utils.data.Dataset",
    "numpy.bool_": "numpy.bool",
    "np.ndarray": "numpy.ndarray",
    "Path": "pathlib.Path",
    "Callable": "collections.abc.Callable",
    "Sequence": "collections.abc.Sequence",
    "Any": "typing.Any",
}


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.reference | None:
    """Turn a reference that Sphinx could not resolve into a link to another project, if the table knows it."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"]
    page = PAGES.get(ALIASES.get(name, name))
    return None if page is None else nodes.reference("", "", content, internal=False, refuri=page)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("missing-reference", resolve)
    return {"version": "1", "parallel_read_safe": True}
