"""Small networks and the plain full-graph truth that the tests of the pass compare with."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr.functional import combine_maps

# Each trap is tried on both classes.
KINDS = ("single", "combined")
each_kind = pytest.mark.parametrize("kind", KINDS)
SIZE = (12, 12)  # of the images that follow
#: By which equal computations may differ: a GPU adds in no fixed order.
ROUNDING = 0.0 if torch.get_default_device().type == "cpu" else 1e-12


class Net(nn.Module):
    """Two convolutions with in-place ReLUs and a linear head: (N, 3, 12, 12) -> (N, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.bn = nn.BatchNorm2d(5)
        self.relu1 = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, 4)

    def features(self, x: Tensor) -> Tensor:
        return self.block(self.relu1(self.bn(self.conv1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *SIZE)


def build(kind: str, forward_func: Callable[..., Any], *layers: Any, **kwargs: Any) -> Any:
    """One layer as NormGrad, or any number as CombinedNormGrad."""
    if kind == "single":
        return NormGrad(forward_func, layers[0] if len(layers) == 1 else list(layers), **kwargs)
    return CombinedNormGrad(forward_func, list(layers), **kwargs)


def plain(
    kind: str,
    forward: Callable[[], Tensor],
    layers: Sequence[nn.Module],
    size: tuple[int, ...],
    layer_input: bool = False,
) -> Any:
    """What naive hooks in a fully recorded forward give: the norm of the activation times that of the gradient.

    Args:
        kind: One of ``KINDS``.
        forward: Gives the score of each sample.
        layers: Layers with one output tensor each (N, C, *spatial).
        size: Spatial size of the input.
        layer_input: Take the layers' inputs instead.
    """
    kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(layer: nn.Module, t: Tensor) -> Tensor:
        kept[layer] = (t, t.detach().clone())
        return t.clone()

    with contextlib.ExitStack() as stack:
        for layer in dict.fromkeys(layers):
            if layer_input:
                handle = layer.register_forward_pre_hook(lambda m, args: (keep(m, args[0]), *args[1:]))
            else:
                handle = layer.register_forward_hook(lambda m, args, out: keep(m, out))
            stack.callback(handle.remove)
        score = forward()
    gradients = torch.autograd.grad(score.sum(), [kept[layer][0] for layer in layers])
    maps = [
        (kept[layer][1].float().norm(dim=1, keepdim=True) * g.float().norm(dim=1, keepdim=True))
        for layer, g in zip(layers, gradients, strict=True)
    ]
    if kind == "combined":
        return combine_maps(maps, size)
    return maps[0] if len(maps) == 1 else maps


class _Box:
    def __init__(self, packed: Any) -> None:
        self.packed = packed


@contextlib.contextmanager
def saved_for_backward() -> Iterator[list[tuple[torch.Size | None, weakref.ref[_Box]]]]:
    """What graphs save from here on: the shape, or None if nothing is kept, and what lives as long as the graph."""
    saved: list[tuple[torch.Size | None, weakref.ref[_Box]]] = []
    hooks = torch.autograd.graph.saved_tensors_hooks
    original = hooks.__init__

    def watched(self: Any, pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> None:
        def pack_in_box(t: Tensor) -> _Box:
            box = _Box(pack(t))
            saved.append((None if box.packed is None else t.shape, weakref.ref(box)))
            return box

        original(self, pack_in_box, lambda box: unpack(box.packed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hooks, "__init__", watched)
        with hooks(lambda t: t.detach(), lambda t: t):  # where nobody else has hooks
            yield saved


@contextlib.contextmanager
def untouched(model: nn.Module, *tensors: Tensor, graph: bool = False) -> Iterator[None]:
    """Fail unless the model and the tensors are left as they were found, and (but for ``graph``) no graph lives on."""
    before, grad_mode = _state(model, tensors), torch.is_grad_enabled()
    gc.disable()  # a reference cycle would keep the graph until the next collection
    try:
        with saved_for_backward() as saved:
            yield
        alive = [shape for shape, box in saved if shape is not None and box() is not None]
    finally:
        gc.enable()
    assert graph or not alive, f"a graph with {alive} lives on"
    assert torch.is_grad_enabled() == grad_mode
    assert not torch.nn.modules.module._global_forward_pre_hooks
    after = _state(model, tensors)
    assert before.keys() == after.keys()
    for key, value in before.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(after[key], value, rtol=0, atol=0, equal_nan=True, msg=f"{key} changed")
        else:
            assert after[key] == value, f"{key} changed"


_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
)  # fmt: skip


def _state(model: nn.Module, tensors: Sequence[Tensor]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        state[f"{name}.training"] = module.training
        state[f"{name}.attributes"] = sorted(vars(module))
        for hooks in _HOOKS:
            state[f"{name}.{hooks}"] = list(getattr(module, hooks))
    named = [*model.named_parameters(), *model.named_buffers(), *((f"input {i}", t) for i, t in enumerate(tensors))]
    for name, t in named:
        state[f"{name} object"] = id(t)
        state[f"{name} value"] = t.detach().clone()
        state[f"{name} requires_grad"] = t.requires_grad
        state[f"{name} leaf"] = t.is_leaf
        state[f"{name} grad"] = t.grad.clone() if t.is_leaf and t.grad is not None else None
        state[f"{name} hooks"] = bool(t._backward_hooks)
    return state


@contextlib.contextmanager
def refused(model: nn.Module, *tensors: Tensor, error: type[Exception], match: str) -> Iterator[None]:
    """Fail unless the error is raised, and the model and the tensors are left as they were found."""
    with untouched(model, *tensors, graph=True), pytest.raises(error, match=match):  # the traceback holds a graph
        yield
