"""Reading off autograd's graph what the dimensions of its tensors run over.

Every node says what it did: which dimensions it permuted, how it split or joined them, or that it works on channels in
a place of its own (a convolution in dimension 1, a linear layer in the last). Followed from the inputs on, that tells
for each tensor where its channels are and how its places lie on the input. What a node of an unknown kind puts out
starts anew, unknown and perhaps moved around, until something that takes it in tells. Only the nodes' plain attributes
and the shapes of their outputs are read, never a saved tensor, so it works on a graph that has been used up.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, Node

from normgrad_attr._axes import (
    Axis,
    Dims,
    Input,
    Piece,
    only_axis,
    places_of,
    size_of,
    whole,
)
from normgrad_attr._node import Rule, Shape, UnreadableError, elsewhere
from normgrad_attr._node_moves import MOVING
from normgrad_attr._node_rules import COMPUTING, IN_PYTHON, unknown, written_by_the_user

_RULES: dict[Any, Rule] = {**COMPUTING, **MOVING, **IN_PYTHON}
#: Products that make data of a constant, if one of their operands is not recorded.
_PRODUCTS = {"Mm", "Addmm", "Bmm", "Baddbmm", "Linear"}
#: What makes data even of operands that are not recorded.
_MAKERS = {"Convolution", "Embedding"}


class GraphAxes:
    """What the dimensions of the tensors of one graph run over, found as far as it is asked for.

    Examples:
        >>> import torch
        >>> from torch.autograd.graph import get_gradient_edge
        >>> from normgrad_attr._graph_axes import GraphAxes
        >>> x = torch.rand(2, 3, 32, 32, requires_grad=True)
        >>> tokens = torch.nn.Conv2d(3, 8, 8, 8)(x).flatten(2).mT
        >>> dims = GraphAxes().at(get_gradient_edge(tokens))
        >>> [[(f.axis.kind, f.size, f.axis.along()) for f in dim] for dim in dims]
        [[('batch', 2, None)], [('space', 4, (0, 2)), ('space', 4, (1, 2))], [('channel', 8, None)]]
    """

    def __init__(self) -> None:
        self._found: dict[Node, list[Dims | None]] = {}

    def at(self, edge: GradientEdge) -> Dims | None:
        """The dimensions of the tensor at an edge; None if it is made of weights and constants alone."""
        self.read(edge.node)
        return self._found[edge.node][edge.output_nr]

    def read_score(self, root: Node) -> Axis | None:
        """Follow the graph to the sum of the samples' scores: what they run along was the batch all along."""
        self.read(root)
        node, index = root.next_functions[0] if root.next_functions else (None, 0)
        dims = self._found[node][index] if node is not None else None
        axis = only_axis(dims[0]) if dims else None
        if axis is not None:
            axis.note_batch()
        return axis

    def read(self, root: Node) -> None:
        """Follow the graph from the inputs up to a node."""
        waiting = [root]
        while waiting:
            node = waiting[-1]
            if node in self._found:
                waiting.pop()
                continue
            found = self._found
            missing = [n for n, _ in node.next_functions if n is not None and n not in found]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            self._found[node] = self._apply(node)

    def _apply(self, node: Any) -> list[Dims | None]:
        kind = _kind_of_node(node)
        if kind == "AccumulateGrad":
            return [None if isinstance(node.variable, nn.Parameter) else _input(tuple(node.variable.shape))]
        shapes = [tuple(m.shape) for m in node._input_metadata]
        operands = [None if n is None else self._found[n][i] for n, i in node.next_functions]
        made = kind in _MAKERS or (kind in _PRODUCTS and any(n is None for n, _ in node.next_functions))
        if all(o is None for o in operands) and not made:
            return [None] * len(shapes)
        of_torch = hasattr(torch._C._functions, type(node).__name__)
        rule = _RULES.get(kind, unknown if of_torch else written_by_the_user)
        try:
            result = list(rule(node, operands, shapes))
        except (AttributeError, IndexError, TypeError, ValueError, UnreadableError):
            result = list(unknown(node, operands, shapes))
        result = [
            d if d is None or tuple(map(size_of, d)) == shape else elsewhere(shape, operands)
            for d, shape in zip(result, shapes, strict=True)
        ]
        places = places_of(operands)
        return [d if d is None or isinstance(d, Piece) else Piece(d, places) for d in result] if places else result


def _kind_of_node(node: Node) -> str | type:
    """``Convolution`` for ``ConvolutionBackward0``, ``AccumulateGrad`` for ``torch::autograd::AccumulateGrad``.

    Of a function in Python it is the class, for its name says nothing of what it does.
    """
    return getattr(type(node), "_forward_cls", None) or _without_suffix(node.name())


@functools.cache
def _without_suffix(name: str) -> str:
    return re.sub(r"Backward\d*$", "", name.rsplit("::", 1)[-1])


def _input(shape: Shape) -> Dims:
    source = Input(shape, ["batch" if i == 0 else None for i in range(len(shape))])
    return tuple(whole(Axis(size, of_input=(source, i))) for i, size in enumerate(shape))
