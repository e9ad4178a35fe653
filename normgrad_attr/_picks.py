"""Which places of an axis single pieces were taken from, so that the order is known in which they are joined again.

``x[i]`` and ``x.unbind()`` drop a dimension. What is made of such a piece depends on one place of its axis, and if
pieces are stacked, it is these places that tell whether they lie as before.
"""

from __future__ import annotations

from typing import Any

from torch.autograd.graph import Node

from normgrad_attr._axes import Axis, Dim, moved, new, only_axis, whole
from normgrad_attr._node import Operands, dims_of, signed

#: The place of each axis that something was made of; None for several places.
Pick = dict[Axis, int | None]
_NOTHING: Pick = {}


class Picks:
    """The places that the outputs of a graph's nodes were made of, where a dimension was dropped."""

    def __init__(self) -> None:
        self._found: dict[Node, list[Pick]] = {}

    def note(self, node: Any, name: str, operands: Operands, outputs: int) -> None:
        """Note what a node takes, and what its operands were made of."""
        known = [pick for pick in self._of_operands(node) if pick]
        inherited = known[0] if len(known) == 1 else _together(known)
        found = [inherited] * outputs
        if name in ("Select", "Unbind") and operands[0] is not None:
            (at,) = dims_of(node, len(operands[0]), "_saved_dim")
            axis = only_axis(operands[0][at])
            if axis is not None:
                places = range(outputs) if name == "Unbind" else [signed(node._saved_index) % axis.size]
                found = [{**inherited, axis: place} for place in places]
        if any(found):
            self._found[node] = found

    def joined(self, node: Any) -> Dim | None:
        """The dimension along which single pieces of one axis are joined; None if they are not that."""
        picks = self._of_operands(node)
        if len(picks) < 2 or not all(picks):
            return None
        varying = [
            (axis, places)
            for axis in picks[0]
            if None not in (places := [pick.get(axis) for pick in picks]) and len(set(places)) > 1
        ]
        if len(varying) != 1:
            return None
        ((axis, places),) = varying
        if places == list(range(axis.size)):
            return whole(axis)
        count = len(places)
        return moved(whole(axis) if count == axis.size else new(count, axis.kind), count)

    def _of_operands(self, node: Any) -> list[Pick]:
        return [self._found[n][i] if n in self._found else _NOTHING for n, i in node.next_functions]


def _together(picks: list[Pick]) -> Pick:
    result: Pick = {}
    for axis, place in (item for pick in picks for item in pick.items()):
        result[axis] = place if result.get(axis, place) == place else None
    return result
