"""How the JSON files of a run directory are read: one that does not hold what it should is damaged, and said to be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from benchmarks.run.errors import UserError

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Measured:
    """``classifier.json``, as far as it is read again.

    Attributes:
        auc: On the test films.
        accuracy: On the test films.
        split: What it was measured on.
        unsure: Probabilities between which a verdict is unsure.
        weights: Digest of the weights that were measured.
        dev_auc: On the dev films.
        dev_n: Number of dev films.
        dev_positives: Those of them with objects.
    """

    auc: Share
    accuracy: Share
    split: str
    unsure: tuple[Share, Share] | None = None
    weights: str | None = None
    dev_auc: Share | None = None
    dev_n: Count = 0
    dev_positives: Count = 0


@dataclass(frozen=True)
class Summary:
    """``summary.json``, as far as it is read again.

    Attributes:
        classifier: AUC and accuracy.
        images: Number of annotated films.
        truth: Ground truth.
        chance: Chance level by tolerance.
        drawn_from: Digest of the results that are shown.
        files: Digest of each file of the report by its name.
    """

    classifier: Measured
    images: Count
    truth: str
    chance: dict[str, Share]
    drawn_from: str = ""
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SetFacts:
    """``manifest.json`` of a synthetic set.

    Attributes:
        film_counts: Films of the splits train, dev and test.
        film_size: Longer side of a film in pixels.
        data_seed: Seed of the set.
    """

    film_counts: tuple[Count, Count, Count]
    film_size: Count
    data_seed: Count


Environment = dict[str, str | int | float | bool | None]
"""``environment.json``."""


class DamagedError(UserError):
    """A file that does not hold what it should."""


def read_json(path: Path, kind: Any = dict[str, Any], remedy: str = "the step that wrote it makes it again") -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        kind: What it holds.
        remedy: What makes it again, for the sentence.

    Raises:
        DamagedError: The file holds something else, or cannot be read.
    """
    try:
        return convert(json.loads(path.read_bytes()), kind)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, NotOfKindError) else "it is no JSON"
    except OSError as error:
        reason = error.strerror or str(error)
    raise DamagedError(f"{path} is damaged ({reason}): {remedy}.")


class NotOfKindError(ValueError):
    """A value is not of the kind that it should be."""


def convert(value: Any, kind: Any) -> Any:
    """A value of JSON as the kind that it should be.

    Raises:
        NotOfKindError: It is of another kind, or out of range.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise NotOfKindError(str(error).replace("`", "").replace("$.", "")) from None


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"Expected str, got {type(value).__name__}")
