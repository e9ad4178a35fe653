"""The scores in what a network gives: a tensor, or an object, a dictionary or a tuple around one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.run.choices import Outputs
from benchmarks.run.errors import UserError

NAMES = ("logits", "logit", "scores", "output", "outputs", "out", "pred", "prediction")
"""Under which attribute or key the scores are looked for, the first first."""

_WRAPPER = (
    "wrap it in a module with `def forward(self, images): return self.network(images)[...]`, which returns the tensor "
    "(N, K) of scores before softmax or sigmoid."
)


def find_scores(output: Any, where: str = "the model") -> Tensor:
    """The scores ``(N, K)`` in an output; ``(N,)`` is one score an image.

    Args:
        output: A tensor; something with one of :data:`NAMES` as attribute or key; or a sequence whose first entry is
            one of these.
        where: What gave it, for messages.

    Raises:
        UserError: There are none; shows a wrapper that would give them.

    Example:
        >>> find_scores({"loss": None, "logits": torch.zeros(2, 3)}).shape
        torch.Size([2, 3])
    """
    found = output
    for _ in range(3):  # a tuple of an object with a dictionary is as deep as it gets
        if isinstance(found, Tensor) or found is None:
            break
        if isinstance(found, Mapping):
            found = next((found[name] for name in NAMES if name in found), None)
        elif any(getattr(found, name, None) is not None for name in NAMES):
            found = next(getattr(found, name) for name in NAMES if getattr(found, name, None) is not None)
        elif isinstance(found, Sequence) and found:
            found = found[0]
        else:
            found = None
    if not isinstance(found, Tensor):
        raise UserError(f"{where} gives {_described(output)}, in which no scores are found: {_WRAPPER}")
    scores = found.flatten(1) if found.ndim == 4 and found.shape[2:] == (1, 1) else found
    scores = scores[:, None] if scores.ndim == 1 else scores
    if scores.ndim != 2:
        raise UserError(f"{where} gives {_described(found)} where (N, K) scores are expected: {_WRAPPER}")
    return scores


def are_probabilities(scores: Tensor) -> bool:
    """Whether scores lie from 0 to 1 and all that they are made of has been through a sigmoid or a softmax.

    Args:
        scores: With the graph of autograd that made them; without one nothing is known, and the answer is no.
    """
    if scores.grad_fn is None or not bool(((scores >= 0) & (scores <= 1)).all()):
        return False
    waiting, seen = [scores.grad_fn], {scores.grad_fn}
    while waiting:
        node = waiting.pop()
        if node.name().startswith(("Sigmoid", "Softmax", "LogSoftmax", "Hardsigmoid")):
            continue
        makers = [maker for maker, _ in node.next_functions if maker is not None]
        if not makers:  # weights, which nothing has squeezed on the way here
            return False
        waiting += [maker for maker in makers if maker not in seen]
        seen.update(makers)
    return True


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a dictionary of {', '.join(map(repr, list(output)[:6]))}"
    return f"an object of type {type(output).__name__}"


class Scores(nn.Module):
    """A network of which the scores are taken out of the output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Scores, ``(N, K)``."""
        return find_scores(self.network(images))


class BeforeProbabilities(nn.Module):
    """A network that gives probabilities, as one that gives the scores of which softmax or sigmoid makes these.

    Where rounding made a probability 0 or 1, its score is as far out as float32 tells, and has no gradient.

    Args:
        network: Gives probabilities, ``(N, K)``.
        outputs: What made them.
    """

    def __init__(self, network: nn.Module, outputs: Outputs) -> None:
        super().__init__()
        self.network = network
        self.outputs = outputs

    def forward(self, images: Tensor) -> Tensor:
        """Scores, ``(N, K)``."""
        shares = find_scores(self.network(images))
        kind = torch.finfo(shares.dtype)
        return shares.clamp(min=kind.tiny).log() if self.outputs == "softmax" else shares.logit(eps=kind.eps / 2)


class TwoClasses(nn.Module):
    """A network with one score an image, the logit of a class, as one with a score for its absence and its presence.

    The scores are half the logit down and up, so that softmax gives what sigmoid gave.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Scores, ``(N, 2)``."""
        half = find_scores(self.network(images)) / 2
        return torch.cat([-half, half], dim=1)
