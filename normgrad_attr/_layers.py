"""Layers by module or dotted name, and the names of modules for messages."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def owner(forward_func: Callable[..., Any]) -> nn.Module | None:
    """The user's own module behind ``forward_func``: without DataParallel, DDP and torch.compile wrappers.

    Returns:
        The module, also for a bound method of one; None for a plain function, which hides its model.
    """
    module: Any = forward_func if isinstance(forward_func, nn.Module) else getattr(forward_func, "__self__", None)
    if not isinstance(module, nn.Module):
        return None
    while isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)) or hasattr(module, "_orig_mod"):
        module = module._orig_mod if hasattr(module, "_orig_mod") else module.module
    assert isinstance(module, nn.Module)
    return module


def resolve(forward_func: Callable[..., Any], layer: nn.Module | str) -> nn.Module:
    """Find a layer given as module or as dotted name.

    Raises:
        TypeError: ``layer`` is neither.
        ValueError: No such name in the model, or the model is hidden in a function, or the layer is scripted.
    """
    if isinstance(layer, str):
        model = owner(forward_func)
        if model is None:
            raise ValueError(
                f"Layer {layer!r} is a name, but forward_func is not a module in which to look it up; "
                "pass the layer's module itself."
            )
        modules = _named_modules(model)
        if layer not in modules:
            near = difflib.get_close_matches(layer, modules, n=3) or [n for n, _ in model.named_children()][-3:]
            raise ValueError(
                f"{type(model).__name__} has no layer named {layer!r}; did you mean {' or '.join(map(repr, near))}?"
            )
        layer = modules[layer]
    if not isinstance(layer, nn.Module):
        raise TypeError(f"A layer must be a torch.nn.Module or a dotted name, not {type(layer).__name__}.")
    if isinstance(layer, torch.jit.ScriptModule):
        raise ValueError(
            f"Layer {type(layer).__name__} is scripted or traced, and hooks on such modules never run; "
            "use the original eager module."
        )
    return getattr(layer, "_orig_mod", layer)


def name_of(forward_func: Callable[..., Any], layer: nn.Module) -> str:
    """Name of a layer for messages: its dotted name if the model is known, else its type."""
    model = owner(forward_func)
    for name, module in _named_modules(model).items() if model is not None else ():
        if module is layer and name:
            return f"{name!r} ({type(layer).__name__})"
    return type(layer).__name__


def _named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules by the names that they had before torch.compile wrapped some of them."""
    return {".".join(p for p in name.split(".") if p != "_orig_mod"): m for name, m in model.named_modules()}
