"""Objects drawn on clean films while a network learns, each time others.

An annotated film gives its place in the batch to the twin of a clean one that lies in the same batch: the two differ by
the objects alone, so that nothing else can be learnt from them. Strong objects first and faint ones later make a
curriculum, for faint ones are not learnt from scratch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.synthetic.placing import Mask, draw_objects

EASED = 0.5
"""Share of a training over which share and contrast of what is drawn go from their first value to their last."""


def curriculum(share: tuple[float, float], contrast: tuple[float, float], progress: float) -> tuple[float, float]:
    """Share and contrast of what is drawn at some time of a training.

    Args:
        share: At the start, and from :data:`EASED` of the training on; in a straight line between them.
        contrast: Likewise, above 0; it falls by the same factor in every epoch.
        progress: Share of the training that is done.

    Example:
        >>> for progress in (0.0, 0.25, 0.75):
        ...     print(curriculum((1.0, 0.5), (4.0, 1.0), progress))
        (1.0, 4.0)
        (0.75, 2.0)
        (0.5, 1.0)
    """
    left = max(0.0, 1 - progress / EASED)
    return share[1] + (share[0] - share[1]) * left, contrast[1] * (contrast[0] / contrast[1]) ** left


def draw_twins(
    films: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int64],
    *,
    seed: tuple[int, ...],
    share: float,
    contrast: float,
) -> npt.NDArray[np.uint8]:
    """Replace some annotated films of a batch by clean films of it with drawn objects.

    Args:
        films: (N, S, S).
        labels: 0 clean, 1 annotated, shape (N,); they stay true.
        indices: Positions of the films in their split, shape (N,).
        seed: Of the run and the epoch; with the positions the only source of chance.
        share: Of the annotated films that are replaced, on average.
        contrast: Of what is drawn, on the scale of the synthetic set's objects.

    Returns:
        The batch, (N, S, S).
    """
    clean = np.flatnonzero(labels == 0)
    result: npt.NDArray[np.uint8] = films.copy()
    if not len(clean):
        return result
    for place in np.flatnonzero(labels == 1):
        rng = np.random.default_rng((*seed, int(indices[place])))
        if rng.random() >= share:
            continue
        twin = films[rng.choice(clean)]
        drawn, shapes = draw_objects(
            rng, twin.astype(np.float32) / 255, _chest(len(twin)), np.ones_like(twin, dtype=bool), contrast=contrast
        )
        if shapes:
            result[place] = np.round(drawn * 255)
    return result


def _chest(size: int) -> Mask:
    """Where objects lie on a film of which nothing is known."""
    field = np.zeros((size, size), dtype=bool)
    field[round(0.1 * size) : round(0.85 * size), round(0.12 * size) : round(0.88 * size)] = True
    return field
