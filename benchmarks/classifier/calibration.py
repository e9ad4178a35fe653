"""What a classifier's probability is worth: from which value to which its verdict is too often wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

SURE = 0.9
"""A verdict counts as sure where at least this share of such verdicts is right."""


def unsure_range(probabilities: npt.ArrayLike, labels: npt.ArrayLike, sure: float = SURE) -> tuple[float, float]:
    """Find the probabilities at which a verdict is right less often than ``sure``.

    The classifier's probabilities are calibrated on films that it was not trained on: a logistic curve of two
    parameters in their logits, fitted with Platt's smoothed targets, so that a split without errors still ends in a
    finite curve (Platt, in Advances in Large Margin Classifiers, 2000).

    Args:
        probabilities: Of a foreign object, as the classifier gives them, ``(films,)``.
        labels: 1 where there is one, else 0, ``(films,)``; both must occur.
        sure: Share of right verdicts, above 0.5 and below 1.

    Returns:
        Lower and upper end, the first at most and the second at least 0.5, where the verdict turns; (0, 1) for a
        classifier whose probabilities say nothing.

    Example:
        >>> low, high = unsure_range([0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9], [0, 0, 0, 0, 1, 1, 1, 1])
        >>> low < 0.4 and high > 0.6
        True
    """
    z = logit(np.clip(np.asarray(probabilities, dtype=np.float64), 1e-6, 1 - 1e-6))
    y = np.asarray(labels, dtype=np.float64)
    positives, negatives = y.sum(), (1 - y).sum()
    targets = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(line: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        x = line[0] * z + line[1]
        error = expit(x) - targets
        return float((np.logaddexp(0, x) - targets * x).sum()), np.array([error @ z, error.sum()])

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    if slope <= 0:
        return 0.0, 1.0
    low, high = (float(expit((edge - offset) / slope)) for edge in (-logit(sure), logit(sure)))
    return min(low, 0.5), max(high, 0.5)
