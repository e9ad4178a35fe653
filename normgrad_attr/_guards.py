"""Checks of a call before anything runs, and what keeps the model as it was found."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normgrad_attr._layers import name_of, owner


def check_call(forward_func: Callable[..., Any], inputs: Any) -> None:
    """Raise if no pass can be made: in inference mode, of an empty batch, or through a scripted model."""
    tensors = [t for t in (inputs if isinstance(inputs, tuple) else (inputs,)) if isinstance(t, Tensor)]
    if isinstance(inputs, list):
        raise TypeError("inputs is a tensor or a tuple of tensors, not a list; pass tuple(inputs).")
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "An attribution needs gradients, which torch.inference_mode() forbids; call attribute() outside of it "
            "(torch.no_grad() is fine)."
        )
    for i, t in enumerate(tensors):
        if t.is_inference():
            raise RuntimeError(
                f"Input {i} was made in torch.inference_mode() and cannot take part in a backward pass; pass its "
                ".clone(), made outside of inference mode."
            )
        if t.dim() > 0 and t.shape[0] == 0:
            raise ValueError(f"Input {i} of shape {tuple(t.shape)} is an empty batch; pass at least one sample.")
    scripted = (torch.jit.ScriptModule, torch.jit.ScriptFunction, torch.ScriptMethod)
    if isinstance(owner(forward_func) or forward_func, scripted):
        raise ValueError(
            "forward_func is a scripted or traced module, in which hooks on layers do not run; pass the eager model."
        )


@contextlib.contextmanager
def unchanged_buffers(
    forward_func: Callable[..., Any], layers: Sequence[nn.Module] = ()
) -> Iterator[Callable[[], None]]:
    """Warn of a model in training mode, and undo what its forward does to buffers such as BatchNorm statistics.

    Yields what puts them back already before the end.
    """
    saved: dict[nn.Module, list[tuple[str, Tensor, Tensor]]] = {}
    thread = threading.get_ident()

    def save(module: nn.Module, *_: Any) -> None:
        if module.training and module not in saved and threading.get_ident() == thread:
            buffers = module.named_buffers(recurse=False)
            saved[module] = [(name, b, b.detach().clone()) for name, b in buffers if not is_lazy(b)]

    def put_back() -> None:
        for module, buffers in saved.items():
            for name, buffer, value in buffers:
                # Unseen by autograd: a backward of the user's own may be pending.
                buffer.data.copy_(value)
                module._buffers[name] = buffer

    model = owner(forward_func)
    for module in model.modules() if model is not None else ():
        save(module)
    # A model inside a function shows itself only when it runs.
    hidden = model is None and any(layer.training for layer in layers)
    watch = nn.modules.module.register_module_forward_pre_hook(save) if hidden else None
    try:
        yield put_back
    finally:
        if watch is not None:
            watch.remove()
        put_back()
    sensitive = next(filter(_depends_on_mode, saved), None)
    if sensitive is not None:
        warnings.warn(
            f"The model is in training mode: {name_of(forward_func, sensitive)} makes the maps depend on the batch or "
            "on chance; call model.eval() first.",
            stacklevel=7,  # the user's call of attribute(), behind contextlib's, captum's and our own frames
        )


class _Eager:
    """The stance in which compiled models run eagerly, while anyone needs it: it is one for all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.stance = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.stance.enter_context(torch.compiler.set_stance("force_eager"))
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.stance.close()


_EAGER = _Eager()


def eager() -> contextlib.AbstractContextManager[None]:
    """Run compiled models eagerly: a compiled graph does not see hooks that are added after its first call."""
    available = "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance")
    return _EAGER if available else contextlib.nullcontext()


def _depends_on_mode(module: nn.Module) -> bool:
    """Whether a module is of a kind that works differently in training; the last two are torchvision's and timm's."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)
    return isinstance(module, kinds) or type(module).__name__ in ("StochasticDepth", "DropPath")
