"""``python -m benchmarks speed``: measure, compare with the bounds, write JSON, Markdown and a figure."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.run.config import flag
from benchmarks.run.directory import installation
from benchmarks.run.errors import UserError
from benchmarks.run.files import make_folder, write_json, write_text
from benchmarks.speed import bounds, measurements
from benchmarks.speed.contenders import CONTENDERS
from benchmarks.speed.measurements import Plan, curve_exponent
from benchmarks.speed.scoring_cost import beside_the_map, shared_pass, whole_step
from benchmarks.speed.speed_tables import draw, markdown, print_tables
from benchmarks.speed.subjects import check_size
from benchmarks.speed.timing import Seconds, paired_ratio
from benchmarks.speed.worker import import_seconds

PACKAGES = ("torch", "torchvision", "captum", "numpy", "normgrad_attr", "grad-cam", "torchcam")
QUICK = {
    "networks": ("resnet18",), "batch": 2, "image_size": 64, "repeats": 3,
    "batches": (1, 2, 4), "image_sizes": (64, 96, 128), "film_sizes": (64, 96), "films": 2, "calls": 50,
}  # fmt: skip


def speed(
    out: Path,
    *,
    networks: Sequence[str] | None = None,
    batch: int | None = None,
    image_size: int | None = None,
    repeats: int | None = None,
    threads: int | None = None,
    quick: bool = False,
) -> None:
    """Measure everything and write ``speed.json``, ``speed.md`` and ``speed.png``.

    Args:
        out: Folder for the results.
        networks: Keys of :data:`~benchmarks.speed.subjects.SUBJECTS`.
        batch: Images in a batch.
        image_size: Their side in pixels.
        repeats: Rounds of timing.
        threads: Of torch, which chooses by default.
        quick: Small images, few rounds and one network where nothing else is given: a trial in a minute or two.

    Raises:
        UserError: Unknown network, or one that does not take this size; numbers that are not positive; no folder can be
            made.
    """
    given = {"networks": networks, "batch": batch, "image_size": image_size, "repeats": repeats, "threads": threads}
    settings: dict[str, Any] = {"threads": torch.get_num_threads(), **(QUICK if quick else {})}
    settings.update({name: value for name, value in given.items() if value is not None})
    plan = Plan(**{**settings, "networks": tuple(settings.get("networks", Plan.networks))})
    _check(plan)
    make_folder(out)  # a folder that cannot be written is not to be found behind the measurements
    torch.set_num_threads(plan.threads)
    content = measure_all(plan)
    write_json(out / "speed.json", content)
    write_text(out / "speed.md", markdown(content))
    draw(content, out / "speed.png")
    print_tables(content)


def measure_all(plan: Plan) -> dict[str, Any]:
    """Do all measurements of a plan, and say on stderr which one is being done."""
    first = plan.networks[0]
    measured = {"network": first, "batch": plan.batch, "image_size": plan.image_size, "threads": plan.threads}
    _say(f"{first}: rows that have bounds, two at a time")
    pairs = measurements.time_pairs(plan)
    _say("explain on each network")
    explained = measurements.time_explain(plan)
    costs = {}
    for name in plan.networks:
        _say(f"{name}: time and memory of {len(CONTENDERS)} rows")
        costs[name] = measurements.measure_network(plan, name)
    _say(f"{first}: batch size, image size, number of layers")
    by_batch, by_size = measurements.cost_by_batch(plan), measurements.cost_by_size(plan)
    by_layers = measurements.cost_by_layers(plan)
    _say(f"{plan.calls} calls in search of leaks; import time")
    left = measurements.leftovers(plan)
    imports = [import_seconds() for _ in range(5)]

    _say("scoring: what it costs beside the maps")
    beside = {size: beside_the_map(size, plan.films, plan.repeats) for size in plan.film_sizes}
    shared = shared_pass(plan.film_sizes[0], plan.films, plan.repeats)
    whole = whole_step(plan.film_sizes[0], plan.films)

    exponents = {
        row: {"batch": curve_exponent(by_batch, row), "pixels": curve_exponent(by_size, row, power=2)}
        for row in ("inference", "normgrad")
    }
    table = [
        *bounds.time_bounds(pairs),
        *bounds.explain_bounds(explained),
        *bounds.memory_bounds(costs[first].mib),
        *bounds.growth_bounds(left, plan.calls),
        *bounds.scaling_bounds(
            {n: s["normgrad"] for n, s in by_batch.items()}, exponents["normgrad"], exponents["inference"]
        ),
        *bounds.scoring_bounds(beside, shared, whole),
        bounds.import_bound(imports),
    ]
    return {
        "settings": {
            "networks": plan.networks, "batch": plan.batch, "image_size": plan.image_size, "repeats": plan.repeats,
            "threads": plan.threads, "calls": plan.calls,
        },
        "conditions": {
            "asked": bounds.CONDITIONS,
            "met": measured == bounds.CONDITIONS,
        },
        "environment": installation(PACKAGES),
        "control": _control(pairs),
        "bounds": [bound.to_dict() for bound in table],
        "networks": {name: found.rows(plan.batch) for name, found in costs.items()},
        "curves": {
            "batch": _medians(by_batch),
            "image_size": _medians(by_size),
            "layers": _medians(by_layers),
            "exponents": exponents,
        },
        "seconds": {name: found.seconds for name, found in costs.items()},
        "seconds_of_pairs": [*pairs.values(), *explained.values()],
    }  # fmt: skip


def _control(pairs: dict[bounds.Pair, Seconds]) -> dict[str, float]:
    """Ratio of one computation to itself."""
    seconds = pairs[bounds.CONTROL]
    return asdict(paired_ratio(seconds[bounds.CONTROL.numerator], seconds[bounds.CONTROL.denominator]))


def _check(plan: Plan) -> None:
    if not plan.networks:
        raise UserError("--networks names no network")
    for name in ("batch", "image_size", "repeats", "threads"):
        if getattr(plan, name) < 1:
            raise UserError(f"{flag(name)} must be at least 1, not {getattr(plan, name)}")
    for network in plan.networks:
        check_size(network, plan.image_size)


def _medians(curve: dict[int, Seconds]) -> dict[str, list[dict[str, float]]]:
    """By row, its points: x and milliseconds."""
    points: dict[str, list[dict[str, float]]] = {}
    for x, rows in curve.items():
        for row, seconds in rows.items():
            points.setdefault(row, []).append({"x": x, "milliseconds": 1e3 * statistics.median(seconds)})
    return points


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
