"""Whether a network is a plain chain of layers, which is where Captum's LRP conserves relevance."""

from __future__ import annotations

from torch import fx, nn

from benchmarks.run.errors import UserError

_SHAPING = ("flatten", "view", "reshape", "squeeze")


def check_chain(network: nn.Module) -> None:
    """Refuse a network that is more than modules one behind the other.

    Captum attaches LRP's rules to modules. Where a sum joins two branches, as in a residual network, no rule divides
    the relevance, and each branch gets all of it; an operation without a module has no rule either.

    Raises:
        UserError: Names the first operation that stands in the way.
    """
    try:
        graph = fx.symbolic_trace(network).graph
    except Exception as error:
        raise UserError(f"LRP needs a network that torch.fx can trace, and it cannot: {error}") from error
    seen = set()
    for node in graph.nodes:
        if len(node.users) > 1:
            _refuse(f"it branches behind {node.target}")
        if node.op in ("call_function", "call_method"):
            operation = getattr(node.target, "__name__", node.target)
            if operation not in _SHAPING:
                _refuse(f"it computes {operation!r} without a module")
        if node.op == "call_module":
            if node.target in seen:
                _refuse(f"{node.target} runs several times")
            seen.add(node.target)


def _refuse(reason: str) -> None:
    raise UserError(f"LRP divides relevance among modules one behind the other, which this network is not: {reason}")
