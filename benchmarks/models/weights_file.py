"""Weights of a network from a file, by ways of loading that run no code of the file."""

from __future__ import annotations

import pickle
import re
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.run.errors import UserError

_DEEPEST = 4
"""How deep in a file a state dict may lie: a file may hold itself."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file, or one that ``torch.save`` wrote.

    Raises:
        UserError: There is no such file, it holds more than tensors, no state dict, or several of one network.
    """
    if not path.is_file():
        raise UserError(f"--weights {path}: there is no such file.")
    state: Any
    try:
        with path.open("rb") as stream, torch.serialization.safe_globals([Namespace]):  # many trainings' command line
            start = stream.read(9)
            stream.seek(0)
            if start[8:] == b"{":  # of a header whose length is before it, as safetensors have; others begin otherwise
                from safetensors.torch import load_file

                state = load_file(path)
            else:
                state = torch.load(stream, map_location="cpu", weights_only=True)
    except ImportError:
        raise UserError(f"--weights {path} needs the package safetensors: install it.") from None
    except Exception as error:  # what each reader makes of a damaged file
        kind = "a file of plain tensors, the only kind that is safe to load"
        if not isinstance(error, pickle.UnpicklingError):
            kind += f" ({' '.join(str(error).split()).partition('. ')[0][:120] or type(error).__name__})"
        elif other := re.search(r"GLOBAL (\S+)", str(error)):  # in a text that recommends to load it nevertheless
            kind += f" (it holds {other[1]})"
        raise UserError(f"--weights {path} is not {kind}: save it by torch.save(model.state_dict(), FILE).") from None
    found = dict(_states(state))
    weights = max(found.values(), key=len, default=None)
    if weights is None:
        raise UserError(f"--weights {path} holds no state dict: save one with torch.save(model.state_dict(), FILE).")
    same = [place for place, names in found.items() if _are_of_one(set(names), set(weights))]
    if len(same) > 1:
        raise UserError(f"--weights {path} holds the network twice, as {same[0]} and {same[1]}: save one.")
    for name, value in weights.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_complex():
            raise UserError(
                f"--weights {path} holds {name!r} as a tensor that is quantized, sparse, complex or empty: save "
                "model.float().state_dict() of the plain network."
            )
    return weights


def _states(content: Any, *place: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """State dicts in what a file holds, of which the network's is the largest, each behind where it is."""
    if isinstance(content, Mapping) and content and len(place) < _DEEPEST:
        if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
            yield ".".join(place), dict(content)
        else:
            for name, value in content.items():
                yield from _states(value, *place, str(name))


def _are_of_one(names: set[str], larger: set[str]) -> bool:
    """Whether two state dicts are of one network, such as its weights and a moving average of them."""
    return 2 * len(names) > len(larger) and (_holds(names, larger) or _holds(larger, names))


def _holds(names: set[str], others: set[str]) -> bool:
    """Whether some names hold all others, whatever wraps either."""
    if not others:
        return False
    shared = max((wrap for wrap in _chains(min(others)) if all(name.startswith(wrap) for name in others)), key=len)
    bare = {name.removeprefix(shared) for name in others}
    longest = max(bare, key=len)
    return any({name.removesuffix(longest) + of for of in bare} <= names for name in names if name.endswith(longest))


def _fits(value: Tensor, own: Tensor) -> bool:
    """Whether a tensor can take the place of a network's: of its shape, and no whole numbers for real ones."""
    return value.shape == own.shape and value.is_floating_point() >= own.is_floating_point()


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


def _of_network(state: Mapping[str, Tensor], own: Collection[str], path: Path) -> dict[str, Tensor]:
    """Those weights of a state dict that are a network's, by their names in the network.

    What trains a network wraps it, and names its weights by a chain of prefixes. That chain is taken off under which
    the most of the names are the network's; what lies beside it is of the training, such as the weights of a loss.

    Args:
        state: Of a network, or of what trains one.
        own: Names of the network's own state dict.
        path: The file, for the sentence.

    Raises:
        UserError: The same names are the network's under two chains.
    """
    found: dict[str, set[str]] = {"": set()}
    for name in state:
        for chain in _chains(name):
            if name.removeprefix(chain) in own:
                found.setdefault(chain, set()).add(name.removeprefix(chain))
    first, *others = sorted(found, key=lambda chain: -len(found[chain]))
    if twice := [chain for chain in others if found[chain] == found[first]]:
        raise UserError(f"--weights {path} holds the network twice, as {first}NAME and {twice[0]}NAME: save one.")
    return {name.removeprefix(first): value for name, value in state.items() if name.startswith(first)}


def _chains(name: str) -> Iterator[str]:
    """What may wrap a network that names a weight so: nothing, the first part of the name, the first two, and so on."""
    parts = name.split(".")
    return (".".join([*parts[:count], ""]) for count in range(len(parts)))


def load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path, head: tuple[str, ...] = ()) -> None:
    """Put weights into a network, all of them.

    Args:
        network: It is changed.
        state: Of it, or of what trains it.
        path: The file, for the sentence.
        head: What the names of a layer begin with that stays as it is where the state has none of its size.

    Raises:
        UserError: A weight is missing, has another shape, or is one that the network has not.
    """
    own = network.state_dict()
    state = {
        name: value
        for name, value in _of_network(state, own, path).items()
        if not name.startswith(head) or (name in own and value.shape == own[name].shape)
    }
    others = [name for name in state if name in own and not _fits(state[name], own[name])]
    if others:
        pair = state[others[0]], own[others[0]]
        same = pair[0].shape == pair[1].shape
        found, wanted = (value.dtype if same else tuple(value.shape) for value in pair)
        raise UserError(f"--weights {path} does not fit the network: {others[0]!r} is {found} there, {wanted} here.")
    lacking, other = network.load_state_dict(state, strict=False)  # torch knows what it can do without
    missing = [name for name in lacking if not name.startswith(head)]
    if missing or other:
        which = f"{missing[0]!r} is missing" if missing else f"the network has no {other[0]!r}"
        raise UserError(f"--weights {path} does not fit the network: {which} ({len(missing) + len(other)} such).")
