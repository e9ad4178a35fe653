"""Weights of a network from a file, by ways of loading that run no code of the file."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.run.errors import UserError

_AROUND = ("state_dict", "model_state_dict", "model", "state_dict_ema", "net")
_PREFIXES = ("module.", "model.", "network.", "net.", "backbone.", "_orig_mod.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file, or one that ``torch.save`` wrote.

    Raises:
        UserError: There is no such file, it holds more than tensors, or no state dict.
    """
    if not path.is_file():
        raise UserError(f"--weights {path}: there is no such file.")
    state: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise UserError(f"--weights {path} needs the package safetensors: install it.") from None
    except Exception as error:  # what each reader makes of a damaged file
        kind = "a file of plain tensors, the only kind that is safe to load"
        if not isinstance(error, pickle.UnpicklingError):
            kind += f" ({' '.join(str(error).split())[:80]})"
        raise UserError(f"--weights {path} is not {kind}: save it by torch.save(model.state_dict(), FILE).") from None
    for name in _AROUND:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"--weights {path} holds no state dict: save one with torch.save(model.state_dict(), FILE).")
    return dict(state)


def head_size(build: Callable[[], nn.Module], state: Mapping[str, Tensor] | None) -> int | None:
    """Number of outputs of the network that a state dict is of, by the last matrix of the network.

    Args:
        build: Makes the network, with any number of outputs; its weights take no memory here.
        state: Of the network, in any order.

    Returns:
        The number; None where the state dict does not tell.
    """
    if not state:
        return None
    with torch.device("meta"):
        own = build().state_dict()
    last = next((name for name in reversed(own) if own[name].ndim in (2, 4)), None)
    if last is None:
        return None
    found = [value for name, value in state.items() if name == last or name.endswith(f".{last}")]
    return len(found[0]) if found else None


def load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a network, all of them.

    Raises:
        UserError: A weight is missing, has another shape, or is one that the network has not.
    """
    own = network.state_dict()
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state) and not all(name.startswith(prefix) for name in own):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    missing = [name for name in own if name not in state]
    other = [name for name in state if name not in own]
    shapes = [name for name in state if name in own and state[name].shape != own[name].shape]
    if shapes:
        found, wanted = (tuple(at[shapes[0]].shape) for at in (state, own))
        raise UserError(f"--weights {path} does not fit the network: {shapes[0]!r} is {found} there, {wanted} here.")
    if missing or other:
        which = f"{missing[0]!r} is missing" if missing else f"the network has no {other[0]!r}"
        raise UserError(f"--weights {path} does not fit the network: {which} ({len(missing) + len(other)} such).")
    network.load_state_dict(dict(state))
