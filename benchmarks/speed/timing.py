"""Interleaved timing: every row once in each round, so that ratios are taken between neighbours in time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Ratio:
    """Median of paired ratios, with their quartiles."""

    median: float
    low: float
    high: float


def interleave(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    budget: float = float("inf"),
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Time all calls, once in each round, in an order that is shuffled for each; a round before is not counted.

    Args:
        calls: By name.
        repeats: Number of rounds.
        budget: Seconds after which no further round is begun, as long as there have been three.
        clock: Seconds.

    Returns:
        For each name the seconds of each round; equal positions belong to the same round.
    """
    order = list(calls)
    shuffle = random.Random(0).shuffle
    for call in calls.values():
        call()
    seconds: Seconds = {name: [] for name in calls}
    start = clock()
    for done in range(repeats):
        if done >= min(3, repeats) and clock() - start > budget:
            break
        shuffle(order)
        for name in order:
            begin = clock()
            calls[name]()
            seconds[name].append(clock() - begin)
    return seconds


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """Median and quartiles of the ratios round by round.

    Raises:
        ValueError: The two do not come from the same rounds.
    """
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return Ratio(float(median), float(low), float(high))


def exponent(amounts: Sequence[float], seconds: Sequence[float]) -> float:
    """The p of the best fit of ``seconds ~ amounts ** p``: 1 for linear cost, less with a fixed part."""
    slope, _ = np.polyfit(np.log(amounts), np.log(seconds), 1)
    return float(slope)
