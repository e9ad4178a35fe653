"""The bounds that this package sets itself, one row each, with what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.contenders import cell_name
from benchmarks.speed.timing import Ratio, Seconds, paired_ratio
from normgrad_attr.functional import AGGREGATES

#: What the bounds are set for.
CONDITIONS = {"network": "resnet18", "batch": 8, "image_size": 224, "threads": 2}


@dataclass(frozen=True)
class Bound:
    """One row: a measured number and the bound for it.

    Attributes:
        measure: What was measured.
        value: Its value; None if it could not be measured.
        limit: The bound.
        most: Whether the value may be at most the limit; else at least.
        note: Quartiles and other details.
    """

    measure: str
    value: float | None
    limit: float
    most: bool = True
    note: str = ""

    @property
    def status(self) -> str:
        """``pass``, ``fail`` or ``not measured``."""
        if self.value is None:
            return "not measured"
        return "pass" if (self.value <= self.limit if self.most else self.value >= self.limit) else "fail"

    @property
    def text(self) -> str:
        """The bound as in ``<= 1.05``."""
        return f"{'<=' if self.most else '>='} {self.limit:g}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "measure": self.measure,
            "value": self.value,
            "bound": self.text,
            "status": self.status,
            "note": self.note,
        }


@dataclass(frozen=True)
class Pair:
    """Two rows whose ratio of times has a bound, or is a control that has none."""

    measure: str
    numerator: str
    denominator: str
    limit: float
    most: bool = True


LAST, COMBINED, OTHERS, GRID = (
    Pair("time: NormGrad at the last layer / plain inference", "normgrad", "inference", 1.05),
    Pair("time: four layers combined / minimal pass to the same layers", "combined", "minimal_four", 1.05),
    Pair("time: pytorch-grad-cam GradCAM / NormGrad at the last layer", "grad_cam", "normgrad", 2.5, most=False),
    Pair("time: all cells from one pass / one cell", "grid", "normgrad", 1.5),
)
WINDOWS = tuple(
    Pair(aggregate, cell_name("conv3x3", aggregate), cell_name("conv1x1", aggregate), 1.05) for aggregate in AGGREGATES
)
#: Of every network that is measured: explain in one line, and what does the same by hand, a forward that tells the
#: classes and a pass to the layers.
EXPLAIN, BY_HAND = "explain", ("inference", "minimal_explain")
#: The same computation twice: what its ratio differs from 1 by is what the machine adds to the other ratios.
CONTROL = Pair("control: one computation under two names", cell_name("conv1x1", "norm"), "normgrad", 1.0)
PAIRS = (LAST, COMBINED, OTHERS, GRID, *WINDOWS, CONTROL)


def explain_bounds(found: Mapping[str, Seconds]) -> list[Bound]:
    """The bound on the start in one line, by network.

    Args:
        found: Seconds of :data:`EXPLAIN` and of the rows of :data:`BY_HAND`, by network.
    """
    bounds = []
    for network, seconds in found.items():
        by_hand = [sum(parts) for parts in zip(*(seconds[row] for row in BY_HAND), strict=True)]
        ratio = paired_ratio(seconds[EXPLAIN], by_hand)
        alone = paired_ratio(seconds[EXPLAIN], seconds[BY_HAND[-1]])
        note = f"{_quartiles(ratio)}; / the minimal pass alone: {alone.median:.3f}"
        bounds.append(Bound(f"time: explain / forward plus minimal pass, {network}", ratio.median, 1.05, note=note))
    return bounds


def time_bounds(pairs: Mapping[Pair, Seconds]) -> list[Bound]:
    """Bounds on ratios of times, each paired round by round.

    Args:
        pairs: Seconds of the two rows of each pair that could be measured.
    """

    def ratio(pair: Pair) -> Bound:
        if pair not in pairs:
            return Bound(pair.measure, None, pair.limit, pair.most)
        found = paired_ratio(pairs[pair][pair.numerator], pairs[pair][pair.denominator])
        return Bound(pair.measure, found.median, pair.limit, pair.most, _quartiles(found))

    worst = max(map(ratio, WINDOWS), key=lambda bound: bound.value or 0.0)
    window = Bound(
        "time: conv3x3 / conv1x1, whole attribution, worst aggregate",
        worst.value,
        worst.limit,
        note=f"{worst.measure}, {worst.note}",
    )
    return [ratio(LAST), ratio(COMBINED), ratio(OTHERS), window, ratio(GRID)]


def memory_bounds(mib: dict[str, float]) -> list[Bound]:
    """Bounds on ratios of peak memory above the idle process."""

    def ratio(measure: str, numerator: str, denominator: str, limit: float, *, most: bool = True) -> Bound:
        if numerator not in mib or not mib.get(denominator):
            return Bound(measure, None, limit, most)
        note = f"{mib[numerator]:.1f} / {mib[denominator]:.1f} MiB"
        return Bound(measure, mib[numerator] / mib[denominator], limit, most, note)

    return [
        ratio("peak memory: NormGrad at the last layer / plain inference", "normgrad", "inference", 1.10),
        ratio("peak memory: Captum LayerGradCam / NormGrad at the last layer", "captum", "normgrad", 2.5, most=False),
    ]


def growth_bounds(found: dict[str, dict[str, float]], calls: int) -> list[Bound]:
    """Bounds on what stays behind after many calls, by network.

    Resident memory moves by some pages without a leak, hence the quarter of a mebibyte (in 1000 calls, 260 bytes
    each); a leak of one tensor in each call, however small, shows in their number.
    """
    bounds = []
    for network, left in found.items():
        bounds += [
            Bound(f"growth of resident memory over {calls} calls, {network}, MiB", left["mib"], 0.25),
            Bound(f"growth of the number of tensors over {calls} calls, {network}", left["tensors"], 0),
        ]
    return bounds


def scaling_bounds(
    by_batch: dict[int, list[float]], exponents: dict[str, float | None], inference: dict[str, float | None]
) -> list[Bound]:
    """Bounds on how the time grows with the batch and the image.

    Args:
        by_batch: Seconds of NormGrad in each round, by batch size.
        exponents: p of time ~ x ** p, with x ``"batch"`` and ``"pixels"``; None if it was not measured.
        inference: The same of plain inference, for the note.
    """
    small, large = min(by_batch), max(by_batch)
    found = paired_ratio([s / large for s in by_batch[large]], [s / small for s in by_batch[small]])
    measure = f"time per image at batch {large} / at batch {small}"
    return [
        Bound(measure, found.median, 0.8, note=_quartiles(found)),
        *(
            Bound(f"exponent p of time ~ {x}^p", p, 1.1, note=f"plain inference {inference[x]:.3f}" if p else "")
            for x, p in exponents.items()
        ),
    ]


def scoring_bounds(beside: Mapping[int, Seconds], shared: Seconds, whole: tuple[float, float]) -> list[Bound]:
    """Bounds on what scoring costs, on one thread.

    Args:
        beside: By side of the films, seconds of the cheapest map and of the rest.
        shared: Seconds of one NormGrad and of all together.
        whole: Seconds of scoring as a multiple of those of the maps, each method by itself, and as they are computed.
    """
    bounds = []
    for (size, seconds), limit in zip(sorted(beside.items()), (0.10, 0.05), strict=True):
        found = paired_ratio(seconds["rest"], seconds["map"])
        measure = f"scoring: all after the map / the cheapest map, {size} px, one thread"
        bounds.append(Bound(measure, found.median, limit, note=_quartiles(found)))
    found = paired_ratio(shared["together"], shared["one"])
    return [
        *bounds,
        Bound("scoring: all NormGrad of fast from one pass / one of them, one thread", found.median, 2.0,
              note=_quartiles(found)),
        Bound("scoring: --methods paper / its maps, each method by itself, one thread", whole[0], 1.25,
              note=f"maps from shared passes: {whole[1]:.3f}"),
    ]  # fmt: skip


def import_bound(seconds: list[float]) -> Bound:
    """Bound on what ``import normgrad_attr`` adds to ``import captum.attr``."""
    median = sorted(seconds)[len(seconds) // 2]
    return Bound("import normgrad_attr after captum.attr, seconds", median, 0.2, note=f"most {max(seconds):.3f}")


def _quartiles(ratio: Ratio) -> str:
    return f"quartiles {ratio.low:.3f} to {ratio.high:.3f}"
