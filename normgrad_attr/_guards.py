"""Checks of a call before anything runs, and torch's switches that a pass needs in another position."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from normgrad_attr._layers import owner


def check_call(forward_func: Callable[..., Any], inputs: Any) -> None:
    """Raise if no pass can be made: in inference mode, of an empty batch, or through a scripted model."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "An attribution needs gradients, which torch.inference_mode() forbids; call attribute() outside of it "
            "(torch.no_grad() is fine)."
        )
    if isinstance(inputs, list):
        raise TypeError("inputs is a tensor or a tuple of tensors, not a list; pass tuple(inputs).")
    for i, t in enumerate(inputs if isinstance(inputs, tuple) else (inputs,)):
        if not isinstance(t, Tensor):
            raise TypeError(
                f"Input {i} is a {type(t).__name__}, not a tensor; pass the tensors, and let forward_func build the "
                "rest from them, as in lambda x: model({'image': x})."
            )
        if t.is_nested:
            raise TypeError(
                f"Input {i} is a nested tensor, whose samples have sizes of their own; pass them one by one."
            )
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


class _WhileAnyone:
    """A context that is one for all threads: it is entered by the first that needs it and left by the last."""

    def __init__(self, context: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
        self.context = context
        self.lock = threading.Lock()
        self.users = 0
        self.entered = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.entered.enter_context(self.context())
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.entered.close()


@contextlib.contextmanager
def _every_module_runs() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        # A compiled graph does not see hooks that are added after its first call.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        # Torch's fast paths call no submodules, and treat padding in another way.
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        # Weights that are computed here must not stay in a parametrize.cached() of the user's, nor the other way round.
        stack.callback(setattr, parametrize, "_cache", parametrize._cache)
        parametrize._cache = {}
        yield


#: In this context compiled models run eagerly and torch's own transformers layer by layer.
EVERY_MODULE_RUNS = _WhileAnyone(_every_module_runs)
