"""How often an attribution reads from its device: for each time a GPU stands still until the host has caught up."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from normgrad_attr import CombinedNormGrad, MetaSaliency, NormGrad, attribute_together, explain
from normgrad_attr._findings import Findings

READING = {
    "tolist", "item", "cpu", "numpy", "nonzero", "is_nonzero", "equal", "allclose", "unique", "masked_select",
    "__bool__", "__int__", "__float__", "__index__", "__array__",
}  # fmt: skip
NAMES = ["0", "3"]


class _InPython(TorchFunctionMode):
    """Notes what is asked of tensors by way of Python; ``tolist`` is seen nowhere else."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READING:
            self.found.append(f"{func.__name__} in {traceback.extract_stack()[-2].name}")
        return func(*args, **(kwargs or {}))


class _InTorch(TorchDispatchMode):
    """Notes what torch's own functions read, and choices by a mask, whose size must be known."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        masks = (
            [i for i in args[1] if i is not None and i.dtype == torch.bool] if packet is torch.ops.aten.index else []
        )
        if masks or packet in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal):
            self.found.append(str(packet))
        return func(*args, **(kwargs or {}))


def reads(call: Callable[[], object]) -> list[str]:
    found: list[str] = []
    with _InPython(found), _InTorch(found):
        call()
    return found


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()


@pytest.mark.parametrize("target", [1, [0, 2], torch.tensor([0, 2]), torch.tensor(1), torch.tensor([1])])
@pytest.mark.parametrize(
    "method",
    [
        lambda m: NormGrad(m, "3"),
        lambda m: NormGrad(m, NAMES),
        lambda m: NormGrad(m, NAMES, extract="scaling", aggregate="sum"),
        lambda m: NormGrad(m, "3", extract="layer"),
        lambda m: CombinedNormGrad(m, NAMES),
        lambda m: CombinedNormGrad(m, NAMES, combine="sum", smoothing=1.0),
        lambda m: CombinedNormGrad.class_sensitive(m, NAMES),
    ],
)
def test_an_attribution_reads_once(model: nn.Module, method: Callable[[nn.Module], Any], target: Any) -> None:
    images, ready = torch.rand(2, 3, 12, 12), method(model)
    expected = ["tolist in tell"]
    if isinstance(target, Tensor) and target.numel() == 1:  # by Captum's rules a number, as an int is
        expected = ["item in _select", "aten._local_scalar_dense", *expected]
    assert reads(lambda: ready.attribute(images, target)) == expected


def test_several_methods_and_the_start_read_once(model: nn.Module) -> None:
    images = torch.rand(2, 3, 12, 12)
    methods = [NormGrad(model, "3"), CombinedNormGrad(model, NAMES), CombinedNormGrad.class_sensitive(model, NAMES)]
    assert reads(lambda: attribute_together(methods, images, torch.tensor([0, 2]))) == ["tolist in tell"]
    assert reads(lambda: methods[0].attribute_grid(images, 1)) == ["tolist in tell"]
    explain(model, images, class_sensitive=True)  # it looks for the layers, once for a model
    assert reads(lambda: explain(model, images, class_sensitive=True)) == ["tolist in tell"]


def test_meta_saliency_reads_the_targets_once(model: nn.Module) -> None:
    images, method = torch.rand(2, 3, 12, 12), MetaSaliency(NormGrad(model, "3"))
    found = reads(lambda: method.attribute(images, torch.tensor([0, 2])))
    assert found == ["tolist in _targets_of_samples", *["tolist in tell"] * len(images)]


def test_what_is_found_is_said_in_turn() -> None:
    said: list[tuple[str, list[int]]] = []
    findings = Findings()
    findings.note(torch.tensor([True, False]), lambda counts: said.append(("first", counts)))
    findings.note(torch.tensor([7]), lambda counts: said.append(("second", counts)))
    findings.tell()
    findings.tell()
    assert said == [("first", [1, 0]), ("second", [7])]
