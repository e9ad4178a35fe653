"""The measurements of one run: rows by network, cost against batch, pixels and layers, leaks, import time."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.bounds import BY_HAND, EXPLAIN, PAIRS, Pair
from benchmarks.speed.contenders import CELLS, CONTENDERS, Call, captum_each, combined, inference, minimal_pass
from benchmarks.speed.subjects import make_case, subject
from benchmarks.speed.timing import Seconds, exponent, interleave, paired_ratio
from benchmarks.speed.worker import in_fresh_process


@dataclass(frozen=True)
class Plan:
    """What to measure, and how often.

    Attributes:
        networks: Keys of :data:`~benchmarks.speed.subjects.SUBJECTS`; the bounds are about the first.
        batch: Images in a batch.
        image_size: Their side in pixels.
        repeats: Rounds of timing for each pair of rows with a bound; the tables and curves take half of them.
        threads: Of torch.
        batches: Batch sizes for the cost against the batch.
        image_sizes: Sides for the cost against the pixels.
        film_sizes: Two sides of films for the cost of scoring.
        films: Annotated films for it.
        calls: Of one attribution in the search for leaks.
        seconds: Time for the table of each network but the first; three rounds at least.
    """

    networks: tuple[str, ...] = ("resnet18", "resnet50", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t")
    batch: int = 8
    image_size: int = 224
    repeats: int = 20
    threads: int = 2
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    image_sizes: tuple[int, ...] = (112, 160, 224, 320, 448)
    film_sizes: tuple[int, int] = (224, 600)
    films: int = 16
    calls: int = 1000
    seconds: float = 60.0

    @property
    def few(self) -> int:
        """Rounds for tables and curves, in which nothing depends on one ratio."""
        return max(self.repeats // 2, 3)


@dataclass(frozen=True)
class NetworkCosts:
    """Costs of all rows for one network.

    Attributes:
        seconds: By row, of each round.
        mib: By row, peak memory above the idle process.
        absent: By row, why it was not measured.
    """

    seconds: Seconds
    mib: dict[str, float]
    absent: dict[str, str]

    def rows(self, batch: int) -> list[dict[str, Any]]:
        """One dict for each row, absent ones included."""
        rows: list[dict[str, Any]] = []
        for name, contender in CONTENDERS.items():
            row: dict[str, Any] = {"row": name, "title": contender.title, "absent": self.absent.get(name)}
            if name in self.seconds:
                ratio = paired_ratio(self.seconds[name], self.seconds["inference"])
                row["milliseconds"] = 1e3 * statistics.median(self.seconds[name])
                row["milliseconds_per_image"] = row["milliseconds"] / batch
                row["rounds"] = len(self.seconds[name])
                row["time_ratio"] = dataclasses.asdict(ratio)
            if name in self.mib:
                row["peak_mib"] = self.mib[name]
                row["memory_ratio"] = self.mib[name] / self.mib["inference"] if self.mib.get("inference") else None
            rows.append(row)
        return rows


def measure_network(plan: Plan, name: str) -> NetworkCosts:
    """Time all rows in turn, then take the memory of each, but for single cells, in a process of its own."""
    network, images, targets = make_case(name, plan.batch, plan.image_size)
    calls: dict[str, Call] = {}
    absent: dict[str, str] = {}
    for row, contender in CONTENDERS.items():
        if contender.missing:
            absent[row] = contender.missing
            continue
        try:
            calls[row] = contender.prepare(network, subject(name), images, targets)
            calls[row]()
        except Exception as error:
            # That a package of others fails on a network is a result, not an error.
            if contender.package is None:
                raise
            calls.pop(row, None)
            absent[row] = f"fails: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    first = name == plan.networks[0]
    seconds = interleave(calls, plan.few, budget=float("inf") if first else plan.seconds)
    mib = {row: peak_memory(plan, name, row) for row in calls if row not in CELLS}
    return NetworkCosts(seconds, mib, absent)


def time_pairs(plan: Plan) -> dict[Pair, Seconds]:
    """Time the two rows of each bound in turn, with nothing between, on the first network.

    In rounds of all rows the two would be seconds apart, in which the load of a shared machine changes.
    """
    return {
        pair: _in_turn(plan, plan.networks[0], (pair.numerator, pair.denominator))
        for pair in PAIRS
        if not any(CONTENDERS[row].missing for row in (pair.numerator, pair.denominator))
    }


def time_explain(plan: Plan) -> dict[str, Seconds]:
    """Likewise ``explain`` and what does the same by hand, on every network."""
    return {name: _in_turn(plan, name, (EXPLAIN, *BY_HAND)) for name in plan.networks}


def _in_turn(plan: Plan, name: str, rows: Sequence[str]) -> Seconds:
    network, images, targets = make_case(name, plan.batch, plan.image_size)
    calls = {row: CONTENDERS[row].prepare(network, subject(name), images, targets) for row in rows}
    return interleave(calls, plan.repeats)


def peak_memory(plan: Plan, network: str, row: str) -> float:
    """Peak memory of a row above the idle process, MiB."""
    task = {"task": "peak", "network": network, "row": row, "batch": plan.batch, "size": plan.image_size}
    return float(in_fresh_process(**task, threads=plan.threads))


def leftovers(plan: Plan) -> dict[str, dict[str, float]]:
    """What stays in memory after many calls of a small network and of the first one, on small images."""
    found = {}
    for network, row in (("tiny", "combined"), (plan.networks[0], "normgrad")):
        size = subject(network).fixed_size or 64
        task = {"task": "growth", "network": network, "row": row, "batch": 1, "size": size, "calls": plan.calls}
        found[network] = in_fresh_process(**task, threads=plan.threads)
    return found


def cost_by_batch(plan: Plan) -> dict[int, Seconds]:
    """Seconds of some rows by batch size, all sizes interleaved."""
    return _curve(plan, {batch: (batch, plan.image_size) for batch in plan.batches})


def cost_by_size(plan: Plan) -> dict[int, Seconds]:
    """Likewise by image size; empty for a network that takes one only."""
    if subject(plan.networks[0]).fixed_size is not None:
        return {}
    return _curve(plan, {size: (plan.batch, size) for size in plan.image_sizes})


def _curve(plan: Plan, points: dict[int, tuple[int, int]]) -> dict[int, Seconds]:
    chosen = plan.networks[0]
    calls: dict[str, Call] = {}
    for x, (batch, size) in points.items():
        network, images, targets = make_case(chosen, batch, size)
        for row in ("inference", "normgrad"):
            calls[f"{row} {x}"] = CONTENDERS[row].prepare(network, subject(chosen), images, targets)
    seconds = interleave(calls, plan.few)
    return {x: {row: seconds[f"{row} {x}"] for row in ("inference", "normgrad")} for x in points}


def cost_by_layers(plan: Plan) -> dict[int, Seconds]:
    """Seconds by the number of layers, counted from the last: ours, the minimal pass, and one Captum pass each."""
    chosen = plan.networks[0]
    network, images, targets = make_case(chosen, plan.batch, plan.image_size)
    blocks = subject(chosen).blocks or subject(chosen).four
    calls: dict[str, Call] = {}
    for count in range(1, len(blocks) + 1):
        layers = blocks[-count:]
        case = dataclasses.replace(subject(chosen), four=layers)
        calls[f"combined {count}"] = combined(network, case, images, targets)
        calls[f"minimal {count}"] = minimal_pass(network, layers, images, targets)
        calls[f"inference {count}"] = inference(network, case, images, targets)
        if count & (count - 1) == 0:  # powers of two: the curve is a straight line, and its points take long
            calls[f"captum {count}"] = captum_each(network, case, images, targets)
    seconds = interleave(calls, plan.few)
    result: dict[int, Seconds] = {count: {} for count in range(1, len(blocks) + 1)}
    for key, values in seconds.items():
        row, count_text = key.split()
        result[int(count_text)][row] = values
    return result


def curve_exponent(curve: dict[int, Seconds], row: str, power: int = 1) -> float | None:
    """The p of time ~ x ** (power * p); None without at least two points."""
    if len(curve) < 2:
        return None
    return exponent([x**power for x in curve], [statistics.median(seconds[row]) for seconds in curve.values()])
