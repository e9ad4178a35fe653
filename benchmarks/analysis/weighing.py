"""How rows make a mean, and which of them are drawn together: films one by one, or questions by image and class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt
import pandas as pd

RESAMPLES = 2000
_AT_ONCE = 64


@dataclass(frozen=True)
class Weighing:
    """The mean of values of some rows, and of rows that are drawn image by image.

    Attributes:
        images: Number of each row's image, ``(rows,)``; all rows of an image are drawn together.
        classes: Number of each row's class, ``(rows,)``, for the mean over classes of the mean over their rows; None
            for the mean over rows.

    Example:
        >>> weighing = Weighing(np.array([0, 0, 1]), np.array([0, 1, 1]))
        >>> weighing.mean(np.array([[1.0], [0.0], [1.0]]))  # of 1 and 1/2
        array([0.75])
    """

    images: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, index: pd.Index, questions: pd.DataFrame | None = None, *, by_class: bool = True) -> Weighing:
        """Weighing of some rows.

        Args:
            index: Names of films or questions.
            questions: By name, the columns ``file`` and ``class``; None where the rows are films.
            by_class: Whether classes count alike, whatever number of questions they have.
        """
        if questions is None:
            return cls(np.arange(len(index)))
        rows = questions.loc[index]
        images, classes = (pd.factorize(rows[column])[0].astype(np.int64) for column in ("file", "class"))
        return cls(images, classes if by_class else None)

    def mean(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Mean of each column of ``(rows, columns)``."""
        means: npt.NDArray[np.float64] = self._means(np.asarray(values, np.float64), np.ones((1, len(self.images))))[0]
        return means

    @cached_property
    def parts(self) -> npt.NDArray[np.float64]:
        """What part each row has in the mean, ``(rows,)``."""
        groups, there, counts = np.unique(self._groups, return_inverse=True, return_counts=True)
        parts: npt.NDArray[np.float64] = 1 / (len(groups) * counts[there])
        return parts

    def pulls(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """How far each image pulls the mean from where the others of its classes have it, ``(images, columns)``.

        The sum of their squares estimates the variance of the mean, to first order, over draws of images.
        """
        values, parts = np.asarray(values, np.float64), self.parts[:, None]
        within = pd.DataFrame(values).groupby(self._groups).transform("mean").to_numpy()
        pulls: npt.NDArray[np.float64] = pd.DataFrame((values - within) * parts).groupby(self.images).sum().to_numpy()
        return pulls

    @property
    def _groups(self) -> npt.NDArray[np.int64]:
        return np.zeros_like(self.images) if self.classes is None else self.classes

    def resampled(self, values: npt.ArrayLike, seed: int, resamples: int = RESAMPLES) -> npt.NDArray[np.float64]:
        """Means of each column over images drawn with replacement, the same images for all columns.

        Args:
            values: ``(rows, columns)``, bool or float.
            seed: Of the draws.
            resamples: How many.

        Returns:
            float64 ``(resamples, columns)``. A class of which no image was drawn has no part in its resample.
        """
        values = np.asarray(values, dtype=np.float64)
        images = int(self.images.max(initial=-1)) + 1
        if self.classes is None and len(np.unique(self.images)) == len(self.images):
            draws = drawn_films(images, seed, resamples)
            return np.stack([draw[self.images] @ values for draw in draws]) / len(values)
        blocks = drawn_together(images, seed, resamples)
        return np.concatenate([self._means(values, block.take(self.images, axis=1)) for block in blocks])

    def _means(self, values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.classes is None:
            means: npt.NDArray[np.float64] = (weights @ values) / weights.sum(axis=1, keepdims=True)
            return means
        total, there = np.zeros((len(weights), values.shape[1])), np.zeros((len(weights), 1))
        for number in range(int(self.classes.max(initial=-1)) + 1):
            rows = np.flatnonzero(self.classes == number)
            count = weights[:, rows].sum(axis=1, keepdims=True)
            total += (weights[:, rows] @ values[rows]) / np.maximum(count, 1e-12) * (count > 0)
            there += count > 0
        return total / there


def drawn_films(films: int, seed: int, resamples: int = RESAMPLES) -> Iterator[npt.NDArray[np.int64]]:
    """How often each film is drawn, one resample at a time: a matrix of draws would not fit for 100,000 films."""
    generator = np.random.default_rng(seed)
    share = np.full(films, 1 / films)
    for _ in range(resamples):
        yield generator.multinomial(films, share)


def drawn_together(films: int, seed: int, resamples: int = RESAMPLES) -> Iterator[npt.NDArray[np.float64]]:
    """As :func:`drawn_films`, some resamples at a time: float64 ``(draws, films)``."""
    draws = drawn_films(films, seed, resamples)
    while block := list(islice(draws, _AT_ONCE)):
        yield np.stack(block).astype(np.float64)
