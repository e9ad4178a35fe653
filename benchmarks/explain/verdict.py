"""What is said of a film."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.films.grey import Film
from normgrad_attr.functional import Peak

UNSURE = (0.25, 0.75)
"""Where verdicts count as unsure by runs that have measured no range of their own (``classifier.json``)."""

NOTICE = "Research tool, not a medical device: never decide on a patient, or on a repeat exposure, by it alone."


@dataclass(frozen=True)
class Explanation:
    """What the classifier says of one film.

    Attributes:
        film: The film as it was read.
        probability: Of a foreign object.
        saliency: float32 (height, width) of the network's input, for the class "foreign object".
        peaks: In pixels of the film, the highest first; empty for a film that is called clean with confidence.
        unsure_range: Probabilities between which the verdict is called unsure.
    """

    film: Film
    probability: float
    saliency: npt.NDArray[np.float32]
    peaks: tuple[Peak, ...]
    unsure_range: tuple[float, float] = UNSURE

    @property
    def verdict(self) -> str:
        """``"foreign object"`` or ``"clean"``."""
        return "foreign object" if self.probability >= 0.5 else "clean"

    @property
    def unsure(self) -> bool:
        """Whether the probability lies where verdicts are too often wrong."""
        return self.unsure_range[0] < self.probability < self.unsure_range[1]

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        percent = f"{100 * self.probability:.0f} %"
        if self.unsure:
            low, high = self.unsure_range
            look = "look at the marked places" if self.peaks else "look at the whole film"
            return (
                f"Unsure, leaning to {self.verdict}: the model gives a foreign object {percent}, and from "
                f"{100 * low:.0f} to {100 * high:.0f} % it is not to be relied on, so {look} yourself."
            )
        if self.verdict == "clean":
            return f"Clean: the model gives a foreign object {percent}."
        places = {0: "but points at no place", 1: "and points at one place"}.get(
            len(self.peaks), f"and points at {len(self.peaks)} places"
        )
        return f"Foreign object: the model gives it {percent} {places}."
