"""Whether a classifier is worth explaining: maps of one that guesses say nothing of the methods."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.run.directory import read_measured
from benchmarks.run.errors import UserError

USEFUL = 0.65
"""AUC below which no one would call a classifier useful; chance is 0.5."""
_ONE_SIDED_95 = 1.645


def most_auc(auc: float, positives: int, negatives: int) -> float:
    """Upper end of the AUC's one-sided 95 % interval, with the standard error of a classifier at chance.

    Args:
        auc: As measured.
        positives: Films with objects.
        negatives: Films without.

    Example:
        >>> round(most_auc(0.5, 100, 100), 3), round(most_auc(0.5, 8, 8), 3)
        (0.567, 0.745)

    References:
        The variance of the Mann-Whitney statistic under the null hypothesis, (n1 + n0 + 1) / (12 n1 n0).
    """
    return auc + _ONE_SIDED_95 * math.sqrt((positives + negatives + 1) / (12 * positives * negatives))


def refuse_weak(classifier_dir: Path) -> None:
    """Stop where the dev films show that the classifier guesses; too few films show nothing.

    Args:
        classifier_dir: Run directory with ``classifier.json``.

    Raises:
        UserError: The classifier is no better than chance.
    """
    facts = read_measured(classifier_dir)
    auc, films, positives = facts.dev_auc, facts.dev_n, facts.dev_positives
    if auc is not None and 0 < positives < films and most_auc(auc, positives, films - positives) < USEFUL:
        raise UserError(
            f"the classifier of {classifier_dir} guesses: its AUC on {films} dev films is {auc:.2f}, and chance is "
            "0.5. Maps of it would say nothing of the methods. Try --weights synthetic (or imagenet), a larger "
            "--image-size, more --epochs, or a lower --lr, into another --out; --allow-weak goes on all the same."
        )
