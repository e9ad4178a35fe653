"""A film, its maps and its classifier: all that a measure on one film may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def explained_class(probabilities: Tensor, asked: int | None) -> int:
    """The class that is asked for, else the most likely one."""
    return int(probabilities.argmax()) if asked is None else asked


def least_likely_class(probabilities: Tensor, explained: int) -> int:
    """The least likely class but for the one that is explained."""
    others = probabilities.clone()
    others[explained] = torch.inf
    return int(others.argmin())


@dataclass(frozen=True)
class ExplainedFilm:
    """What a method says of one film.

    Attributes:
        maps: float ``(1, h, w)`` by class explained: at least those of :attr:`explained` and :attr:`least_likely`.
        image: as the classifier takes it, ``(C, S, S)``.
        blurred: what takes the place of pixels that are not there, ``(C, S, S)``.
        probabilities: of the film, float ``(K,)``.
        gone: of the blurred film, float ``(K,)``.
        classify: images ``(N, C, S, S)`` to the probabilities of the classes, float ``(N, K)``.
        seed: of the lots that pixels draw.
        asked: the class that is asked for; None where it is the predicted one.
        answers: what the classifier has answered for other methods on the same film, by what it was asked.
    """

    maps: Mapping[int, Tensor]
    image: Tensor
    blurred: Tensor
    probabilities: Tensor
    gone: Tensor
    classify: Callable[[Tensor], Tensor]
    seed: tuple[int, ...]
    asked: int | None = None
    answers: dict[Any, Any] = field(default_factory=dict, repr=False)
    _known: dict[Callable[[ExplainedFilm], Any], Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def explained(self) -> int:
        """The class that is asked for, or the predicted one."""
        return explained_class(self.probabilities, self.asked)

    @property
    def least_likely(self) -> int:
        """The class with the lowest probability, another one than that."""
        return least_likely_class(self.probabilities, self.explained)

    def once(self, compute: Callable[[ExplainedFilm], T]) -> T:
        """What several measures share, computed for the first of them."""
        if compute not in self._known:
            self._known[compute] = compute(self)
        result: T = self._known[compute]
        return result
