"""Layers by module or dotted name, and the names of modules for messages."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

#: A module of the model, or its dotted name.
Layer = nn.Module | str


def owner(forward_func: Callable[..., Any]) -> nn.Module | None:
    """The user's own module behind ``forward_func``: without DataParallel, DDP and torch.compile wrappers.

    Returns:
        The module, also for a bound method of one; None for a plain function, which hides its model.
    """
    module: Any = forward_func if isinstance(forward_func, nn.Module) else getattr(forward_func, "__self__", None)
    if not isinstance(module, nn.Module):
        return None
    found: nn.Module = unwrapped(module, nn.DataParallel, nn.parallel.DistributedDataParallel)
    return found


def unwrapped(value: Any, *wrappers: type[nn.Module]) -> Any:
    """The module in torch.compile's wrapper and in those of the given kinds; anything else as it is."""
    while True:
        if isinstance(value, wrappers):
            value = value.module
        elif isinstance(value, nn.Module) and "_orig_mod" in value._modules:  # not of one in it, passed on by name
            value = value._modules["_orig_mod"]
        else:
            return value


def resolve_all(forward_func: Callable[..., Any], layers: Sequence[Layer]) -> list[nn.Module]:
    """Find layers given as modules, dotted names, or patterns that stand for all names that they match.

    In a pattern ``*``, ``?`` and ``[...]`` stand for letters of one part of a name: ``"layer*.1"`` is ``"layer1.1"``
    but not ``"layer1.0.downsample.1"``.

    Raises:
        TypeError: One is neither.
        ValueError: Nothing is given or found.
    """
    if len(layers) == 0:
        raise ValueError("The list of layers is empty; give at least one layer.")
    found = []
    for layer in layers:
        found += _matches(forward_func, layer) if isinstance(layer, str) else [resolve(forward_func, layer)]
    return found


def resolve(forward_func: Callable[..., Any], layer: Layer) -> nn.Module:
    """Find a layer given as module or as dotted name.

    Raises:
        TypeError: ``layer`` is neither.
        ValueError: No such name in the model, or the model is hidden in a function, or the layer is scripted.
    """
    if isinstance(layer, str):
        layer = _by_name(_looked_up_in(forward_func, layer), _uncompiled(layer))
    if not isinstance(layer, nn.Module):
        raise TypeError(f"A layer must be a torch.nn.Module or a dotted name, not {type(layer).__name__}.")
    if isinstance(layer, torch.jit.ScriptModule):
        raise ValueError(
            f"Layer {type(layer).__name__} is scripted or traced, and hooks on such modules never run; "
            "use the original eager module."
        )
    module: nn.Module = unwrapped(layer)
    return module


def names_of(forward_func: Callable[..., Any], layers: Sequence[nn.Module]) -> list[str]:
    """Dotted names of layers.

    Raises:
        ValueError: The model is hidden in a function, or does not hold one of them.
    """
    model = owner(forward_func)
    names = {} if model is None else {module: name for name, module in _named_modules(model).items()}
    for layer in layers:
        if layer not in names:
            raise ValueError(
                f"Layer {type(layer).__name__} has no name, as forward_func is not the module that holds it; number "
                "the maps, or pass the model itself."
            )
    return [names[layer] for layer in layers]


def name_of(forward_func: Callable[..., Any], layer: nn.Module) -> str:
    """Name of a layer for messages: its dotted name if the model is known, else its type."""
    model = owner(forward_func)
    for name, module in _named_modules(model).items() if model is not None else ():
        if module is layer and name:
            return f"{name!r} ({type(layer).__name__})"
    return type(layer).__name__


class Named:
    """A layer's name, looked up when a message is written: large models have thousands of modules."""

    def __init__(self, forward_func: Callable[..., Any], layer: nn.Module) -> None:
        self._of = forward_func, layer

    def __str__(self) -> str:
        return name_of(*self._of)


def _matches(forward_func: Callable[..., Any], pattern: str) -> list[nn.Module]:
    """The modules that a name or a pattern stands for, in the model's order."""
    pattern = _uncompiled(pattern)
    if not _is_pattern(pattern):
        return [resolve(forward_func, pattern)]
    model = _looked_up_in(forward_func, pattern)
    modules = _named_modules(model)
    if pattern in modules:
        return [resolve(forward_func, pattern)]
    parts = pattern.split(".")
    found = [
        resolve(forward_func, name)
        for name in modules
        if name and len(own := name.split(".")) == len(parts) and all(map(fnmatchcase, own, parts))
    ]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no layer whose name matches {pattern!r}, where * stands for letters between "
            f"two dots; its names are those of model.named_modules(), such as {list(modules)[-1]!r}."
        )
    return found


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _looked_up_in(forward_func: Callable[..., Any], name: str) -> nn.Module:
    """The model that a layer is named in."""
    model = owner(forward_func)
    if model is None:
        raise ValueError(
            f"Layer {name!r} is a name, but forward_func is not a module in which to look it up; pass the layer's "
            "module itself."
        )
    return model


def _by_name(model: nn.Module, name: str) -> nn.Module:
    """The module of this name; all names are gone through only where it is not found by going down its parts."""
    with contextlib.suppress(AttributeError, RuntimeError):  # the latter of scripted models
        return model.get_submodule(name)
    modules = _named_modules(model)
    if name in modules:
        return modules[name]
    if _is_pattern(name):
        raise ValueError(f"The pattern {name!r} may stand for several layers; pass it in a list, as in [{name!r}].")
    near = difflib.get_close_matches(name, modules, n=3) or [n for n, _ in model.named_children()][-3:]
    raise ValueError(
        f"{type(model).__name__} has no layer named {name!r}; did you mean {' or '.join(map(repr, near))}?"
    )


def _named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules by the names that they had before torch.compile wrapped some of them."""
    return {_uncompiled(name): m for name, m in model.named_modules()}


def _uncompiled(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")
