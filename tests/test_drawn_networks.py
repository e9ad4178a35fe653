"""Networks drawn at random: a graph that begins at the first layer gives what one recorded from the beginning gives."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from recorded import MODULES, Keeps, naive_hooks
from torch import Tensor, nn

from normgrad_attr._capture import capture

FUNCTIONS = ["add", "mul", "cat", "half", "detach", "add_", "kept"]

MODES = {"": contextlib.nullcontext, "no_grad": torch.no_grad, "enable_grad": torch.enable_grad}

Step = tuple[str, int, int, str]


class Drawn(nn.Module):
    """Steps on a growing list of tensors (N, C, 2, 2), all of which the two outputs depend on."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.parts = nn.ModuleDict()
        with torch.no_grad():
            self(torch.zeros(1, 2, 2, 2, dtype=torch.float64))  # makes the parts, which fit their inputs

    def forward(self, x: Tensor) -> Tensor:
        tensors = [x * 1]
        for i, (kind, a, b, mode) in enumerate(self.steps):
            s, t = tensors[a % len(tensors)], tensors[b % len(tensors)]
            with MODES[mode]():
                tensors += self.step(str(i), kind, s, t)
        means = torch.stack([t.sin().mean((1, 2, 3)) for t in tensors], 1)
        weights = torch.arange(1, 2 * len(tensors) + 1, dtype=x.dtype).cos().view(-1, 2)
        return means @ weights

    def step(self, name: str, kind: str, s: Tensor, t: Tensor) -> list[Tensor]:
        if kind in MODULES:
            if name not in self.parts:
                self.parts[name] = MODULES[kind](s.shape[1]).double()
            out = self.parts[name]([t, s] if kind == "last of" else s)
            return [] if kind == "relu_ ignored" else list(out) if kind == "pair" else [out]
        if kind == "kept":
            return [m.own for m in self.parts.values() if isinstance(m, Keeps)][-1:]
        if kind in ("add", "mul", "add_") and t.shape[1] not in (1, s.shape[1]):
            return []
        if kind == "add_":
            if s.untyped_storage().data_ptr() != t.untyped_storage().data_ptr():
                s += t
            return []
        return [
            {
                "add": lambda: s + t,
                "mul": lambda: s * t,
                "cat": lambda: torch.cat([s, t], 1),
                "half": lambda: s[:, :1],
                "detach": lambda: s.detach(),
            }[kind]()
        ]


def recorded_from_the_beginning(
    net: nn.Module, layers: Sequence[nn.Module], x: Tensor, target: int
) -> list[list[tuple[Tensor, Tensor]]]:
    kept: dict[nn.Module, list[Any]] = {}
    # Copies are saved, so that nothing which is overwritten later spoils the gradient.
    copies = torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t)
    with torch.enable_grad(), naive_hooks(layers, kept), copies:
        scores = net(x.detach().requires_grad_().clone())
    with torch.no_grad():
        assert torch.equal(scores, net(x.detach().clone()))  # the copies of views have changed nothing
    score = scores[:, target].sum()
    edges = [edge for layer in layers for _, edge in kept[layer] if edge is not None]
    gradients = iter(torch.autograd.grad(score, edges, allow_unused=True) if edges and score.requires_grad else ())
    found = []
    for layer in layers:
        pairs = [(value, next(gradients, None) if edge is not None else None) for value, edge in kept[layer]]
        found.append([(value, torch.zeros_like(value) if g is None else g) for value, g in pairs])
    return found


steps = st.lists(
    st.tuples(
        st.sampled_from([*MODULES, *FUNCTIONS, "conv", "conv", "keeps", "kept", "add", "cat", "half", "half"]),
        st.integers(0, 11),
        st.integers(0, 11),
        st.sampled_from(["", "", "", "", "no_grad", "enable_grad"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(st.data())
def test_networks_drawn_at_random(data: st.DataObject) -> None:
    try:
        net = Drawn(data.draw(steps)).eval()
    except RuntimeError:  # such as an in-place operation on a view from no_grad
        reject()
    parts = [m for m in net.parts.modules() if not isinstance(m, nn.ModuleDict)]
    if not parts:
        reject()
    layers = data.draw(st.lists(st.sampled_from(parts), min_size=1, max_size=3, unique=True))
    x = torch.randn(2, 2, 2, 2, dtype=torch.float64).requires_grad_(data.draw(st.booleans()))
    try:
        expected = recorded_from_the_beginning(net, layers, x, 1)
    except (RuntimeError, AssertionError, AttributeError):
        reject()  # overwritten what its backward, or a view from no_grad, needs: nor could the network be trained
    net.requires_grad_(data.draw(st.booleans()))  # the truth does not depend on it
    with torch.set_grad_enabled(data.draw(st.booleans())):
        try:
            found = capture(net, layers, x, 1, grad_kwargs={"materialize_grads": True}).layers
        except RuntimeError as error:
            if "is overwritten later in the forward pass by way of another tensor" not in str(error):
                raise
            reject()  # a view of what is overwritten has no one gradient
    for (captured,), pairs in zip(found, expected, strict=True):
        for a, g, (value, gradient) in zip(captured.activations, captured.gradients, pairs, strict=True):
            torch.testing.assert_close(a, value, rtol=0, atol=0)
            torch.testing.assert_close(g, gradient, rtol=1e-12, atol=1e-14)
