"""A film, its maps and its classifier: all that a measure on one film may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class ExplainedFilm:
    """What a method says of one film.

    Attributes:
        maps: float ``(1, h, w)`` by class explained: at least those of the most and of the least likely class.
        image: as the classifier takes it, ``(C, S, S)``.
        blurred: what takes the place of pixels that are not there, ``(C, S, S)``.
        probabilities: of the film, float ``(K,)``.
        gone: of the blurred film, float ``(K,)``.
        classify: images ``(N, C, S, S)`` to the probabilities of the classes, float ``(N, K)``.
        seed: of the lots that pixels draw.
    """

    maps: Mapping[int, Tensor]
    image: Tensor
    blurred: Tensor
    probabilities: Tensor
    gone: Tensor
    classify: Callable[[Tensor], Tensor]
    seed: tuple[int, ...]
    _known: dict[Callable[[ExplainedFilm], Any], Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def most_likely(self) -> int:
        """The predicted class."""
        return int(self.probabilities.argmax())

    @property
    def least_likely(self) -> int:
        """The class with the lowest probability."""
        return int(self.probabilities.argmin())

    def once(self, compute: Callable[[ExplainedFilm], T]) -> T:
        """What several measures share, computed for the first of them."""
        if compute not in self._known:
            self._known[compute] = compute(self)
        result: T = self._known[compute]
        return result
