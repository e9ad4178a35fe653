"""Between which ends the share of hits would lie on other films: Wilson's interval.

Resamples do not serve here: of films that are all hit they say that all films are, and near that they hold the truth
too rarely.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from benchmarks.analysis.weighing import Weighing

Array = npt.NDArray[np.float64]


def share_interval(hits: npt.ArrayLike, weighing: Weighing) -> tuple[Array, Array, Array]:
    """Share of hits in each column, and the ends of its 95 % interval.

    Rows of one image say much the same, and rows of a rare class weigh more: as many independent rows of the same
    weight, whose share has the variance that the rows show among images, take the place of their number (Franco
    et al., J. Surv. Stat. Methodol. 2019, 7, 334). They are never more than rows of these weights could be, and where
    all rows are alike, which shows no variance, each image counts as one. Of films they are the films.

    Args:
        hits: Bool ``(rows, columns)``.
        weighing: How rows make a mean, and which belong to one image.

    Returns:
        Shares, lower and upper ends, each float64 ``(columns,)``.

    Example:
        >>> share, low, high = share_interval(np.zeros((32, 1), bool), Weighing(np.arange(32)))
        >>> print(f"{share[0]:.3f} [{low[0]:.3f}, {high[0]:.3f}]")
        0.000 [0.000, 0.107]
    """
    hits = np.asarray(hits, dtype=np.float64)
    share, parts = weighing.mean(hits), weighing.parts
    rows, images = (1 / np.square(weights).sum() for weights in (parts, np.bincount(weighing.images, parts)))
    alike = (hits == hits[:1]).all(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = share * (1 - share) / np.square(weighing.pulls(hits)).sum(axis=0)
    return share, *wilson(share, np.where(alike, images, np.minimum(shown, rows)))


def wilson(share: npt.ArrayLike, number: npt.ArrayLike) -> tuple[Array, Array]:
    """Ends of Wilson's 95 % interval of shares of so many (J. Am. Stat. Assoc. 1927, 22, 209).

    Returns:
        Lower and upper ends; not a number for a share of none.
    """
    share, number = np.clip(share, 0, 1), np.asarray(number, dtype=np.float64)
    z = float(ndtri(0.975))
    with np.errstate(divide="ignore", invalid="ignore"):
        weight, middle = 1 + z**2 / number, share + z**2 / (2 * number)
        half = z * np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
        return np.clip((middle - half) / weight, 0, 1), np.clip((middle + half) / weight, 0, 1)
