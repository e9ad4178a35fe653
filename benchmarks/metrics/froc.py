"""FROC of saliency peaks: a map used as a detector of objects, scored as the challenge scores detectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
"""False positives a film at which the challenge reads the sensitivity."""


def sensitivities(
    peaks: pd.DataFrame,
    objects: Sequence[int],
    draws: Iterable[npt.NDArray[np.int64]] | None = None,
    rates: Sequence[float] = RATES,
) -> npt.NDArray[np.float64]:
    """Share of the objects that are found before the false positives reach a rate.

    A peak in an annotation finds that object; further peaks there change nothing. A peak outside of all is a
    false positive. The sensitivity at a rate is that of the peaks with a higher score than the false positive
    that brings their number a film to the rate, and that of all peaks if it is never reached. So a tie
    is decided against the detector.

    Args:
        peaks: one row for each peak and object that it lies in: ``film`` (number of the film), ``score`` and
            ``object`` (number of the object on its film), which is -1 for a false positive.
        objects: number of annotated objects on each film, clean films included.
        draws: int64 ``(films,)`` for each resample, how often each film is drawn; each once by default.
        rates: false positives a film.

    Returns:
        ``(resamples, rates)``, one row by default; NaN where no film with an object was drawn.
    """
    missed = peaks["object"] < 0
    false = peaks[missed].sort_values("score", ascending=False, kind="stable")
    scores = np.append(false["score"].to_numpy(float), -np.inf)
    # Objects without a peak find no row here; they count in the denominator only.
    found = peaks[~missed].groupby(["film", "object"], as_index=False)["score"].max()
    above = found["score"].to_numpy(float)[:, None] > scores  # (objects found, false positives + 1)
    false_films, found_films = false["film"].to_numpy(int), found["film"].to_numpy(int)
    result = []
    for drawn in [np.ones(len(objects), dtype=np.int64)] if draws is None else draws:
        total = int(drawn @ np.asarray(objects))
        reached = np.cumsum(drawn[false_films])
        last = np.searchsorted(reached, np.ceil(np.asarray(rates) * drawn.sum()), side="left")
        result.append(drawn[found_films] @ above[:, last] / total if total else np.full(len(rates), np.nan))
    return np.stack(result)
