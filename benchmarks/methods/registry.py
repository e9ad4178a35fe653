"""All methods, and how to choose some of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from benchmarks.methods import (
    baselines,
    cam,
    captum_layers,
    channel_scores,
    gradients,
    noise,
    normgrad,
    occlusion,
    rise,
    superpixels,
)
from benchmarks.methods.method import Method
from benchmarks.run.errors import UserError

_FAMILIES = (baselines, captum_layers, gradients, normgrad, noise, cam, channel_scores, occlusion, superpixels, rise)

METHODS: dict[str, Method] = {method.name: method for family in _FAMILIES for method in family.METHODS}
SETS = ("paper", "fast", "all")
_OURS = frozenset(METHODS)


def register(method: Method) -> None:
    """Add a method for the rest of the session, or put it in the place of one that was added before.

    Args:
        method: Its name is that of no method of the suite.

    Raises:
        UserError: It is.
    """
    if method.name in _OURS or method.name in SETS:
        raise UserError(f"there is a method {method.name!r} already: give yours another name")
    METHODS[method.name] = method


def near_names(name: str) -> list[str]:
    """Find methods whose names resemble a misspelt one.

    Args:
        name: What was typed.

    Returns:
        Up to three names, the nearest first.

    Example:
        >>> near_names("gradcam")[0]
        'grad_cam'
    """
    return get_close_matches(name, METHODS, cutoff=0.4)


def select_methods(wanted: str | Iterable[str]) -> list[Method]:
    """Find methods by set or name, each once, in the order of the registry.

    Args:
        wanted: Names and sets, as a sequence or as one string separated by commas.

    Returns:
        The methods.

    Raises:
        UserError: A name is unknown, or there is none.

    Example:
        >>> [method.name for method in select_methods("grad_cam,center")]
        ['center', 'grad_cam']
    """
    names = [name.strip() for name in (wanted.split(",") if isinstance(wanted, str) else wanted)]
    chosen: set[str] = set()
    for name in filter(None, names):
        if name in SETS:
            chosen.update(method.name for method in METHODS.values() if name in method.sets)
        elif name in METHODS:
            chosen.add(name)
        else:
            near = near_names(name)
            raise UserError(
                f"--methods: there is no method {name!r}; near it are {', '.join(near) or 'none'}, the sets are "
                f"{', '.join(SETS)}, and the page docs/methods.md tells how all are called"
            )
    if not chosen:
        raise UserError(f"--methods is empty: name a set ({', '.join(SETS)}) or methods such as grad_cam")
    return [method for method in METHODS.values() if method.name in chosen]
