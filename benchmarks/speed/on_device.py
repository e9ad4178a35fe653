"""NormGrad and scoring on a device: are they what a CPU computes, and what do maps cost beside inference?

``python -m benchmarks.speed.on_device``; :file:`gpu.sh` runs it with all else that wants a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from captum.attr import Saliency
from torch import Tensor

from benchmarks.methods import select_methods
from benchmarks.run.files import write_json
from benchmarks.scoring.batch import FilmBatch
from benchmarks.speed.scoring_cost import synthetic_job
from benchmarks.speed.subjects import subject
from benchmarks.speed.timing import interleave, paired_ratio
from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr.functional import AGGREGATES, EXTRACTS

TOLERANCES = {"float32": 1e-4, "float64": 1e-9}
"""How much a map may differ from the CPU's, as a share of that map."""
SCORES_TOLERANCE = 1e-9
"""Largest difference of a number that scoring finds in a map from what it finds there on a CPU."""


def differences(name: str, device: torch.device, size: int, dtype: torch.dtype) -> dict[str, float]:
    """How far the maps of a device are from those of a CPU, by extract, aggregate, and for the combined map.

    In Euclidean norms: of a ReLU's input that is zero but for rounding, a gradient takes the one side or the other, and
    single places of a map may differ by more. Sums of summands that cancel, as behind a layer norm, are compared with
    what they would be if these did not: the ``norm`` of the same extract. Of the combined map it is the product whose
    root it is, as the root of a rounding of zero is no rounding.

    Args:
        name: Of a network in ``SUBJECTS``.
        device: That is compared with a CPU.
        size: Side of the images in pixels.
        dtype: Of weights and images.

    Returns:
        Shares of the CPU's map.
    """
    case = subject(name)
    torch.manual_seed(0)
    network = case.build().eval().to(dtype)
    images, target = torch.rand(2, 3, size, size, dtype=dtype), torch.tensor([1, 0])

    def maps() -> dict[str, Tensor]:
        here = next(network.parameters()).device
        method = NormGrad(network, case.last, channel_dim=case.channel_dim)
        grid = method.attribute_grid(images.to(here), target.to(here))
        combined = CombinedNormGrad(network, case.four, channel_dim=case.channel_dim)
        found = {
            f"{extract}, {aggregate}": grid[extract, aggregate] for extract in EXTRACTS for aggregate in AGGREGATES
        }
        return {**found, "combined": combined.attribute(images.to(here), target.to(here)) ** len(case.four)}

    with _exact_convolutions():
        truth = maps()
        network.to(device)
        there = {key: of_device.cpu() for key, of_device in maps().items()}
    sizes = {key: float(one.norm()) for key, one in truth.items()}
    return {
        key: float((there[key] - one).norm()) / max(sizes[key], sizes.get(f"{key.partition(',')[0]}, norm", 0.0))
        for key, one in truth.items()
    }


def worst_score(device: torch.device, size: int, films: int) -> float:
    """Largest difference between what a device and a CPU find in the same maps of the methods of ``paper``.

    Args:
        device: That is compared with a CPU.
        size: Side of the films in pixels.
        films: Their number.

    Returns:
        Of distances in pixels, shares of energy and intersections over union; infinity where another point is chosen.
    """
    with synthetic_job(size, films, ("paper",)) as job:
        here = FilmBatch(job, 0)
        context, methods, worst = job.context(), select_methods(("paper",)), 0.0
        explained = [method.prepare(context)(here.images, here.targets) for method in methods]
        job.network.to(device)
        there = FilmBatch(replace(job, device=device), 0)
        for batch in (here, there):
            batch.targets = torch.ones_like(batch.targets)  # all verdicts right: the maps are for one class
        for method, maps in zip(methods, explained, strict=True):
            played = (batch.play(method, lambda *_, maps=maps: maps)["plays"] for batch in (here, there))
            rows, others = (
                sorted(map(dict[str, Any], table), key=lambda row: (row["image"], row["protocol"])) for table in played
            )
            for row, other in zip(rows, others, strict=True):
                if any(row[key] != other[key] for key in ("image", "protocol", "status", "x", "y")):
                    return math.inf
                worst = max(worst, *(abs(row[key] - other[key]) for key in ("distance", "energy", "iou")))
    return worst


def waits(name: str, device: torch.device, size: int) -> dict[str, int]:
    """How often the CPU waits for a GPU in one attribution: a map needs no wait, its warnings need one in all.

    Args:
        name: Of a network in ``SUBJECTS``.
        device: The GPU.
        size: Side of the images in pixels.

    Returns:
        Numbers of waits that PyTorch tells of; none on a CPU.
    """
    if device.type != "cuda":
        return {}
    found = {}
    for key, call in _calls(name, device, size, 2).items():
        call()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found[key] = sum("synchroniz" in str(one.message) for one in told)
    return found


def costs(name: str, device: torch.device, size: int, batch: int, repeats: int) -> dict[str, Any]:
    """Time of NormGrad at the last layer, of four combined, and of Captum's gradient, as multiples of inference.

    Args:
        name: Of a network in ``SUBJECTS``.
        device: Where.
        size: Side of the images in pixels.
        batch: Their number.
        repeats: Rounds.
    """
    calls = _calls(name, device, size, batch)
    result: dict[str, Any] = {}
    for precision in ("float32", "autocast"):
        context = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "autocast")
        with context:
            seconds = interleave({key: _finished(call, device) for key, call in calls.items()}, repeats)
        ratios = {key: paired_ratio(seconds[key], seconds["inference"]).median for key in calls}
        result[precision] = {"milliseconds": 1e3 * sorted(seconds["inference"])[repeats // 2], "ratios": ratios}
    return result


def _calls(name: str, device: torch.device, size: int, batch: int) -> dict[str, Callable[[], Any]]:
    """Plain inference of random images, NormGrad at the last layer, four layers combined, and Captum's gradient."""
    case = subject(name)
    network = case.build().eval().to(device)
    images = torch.rand(batch, 3, size, size, device=device)
    target = torch.zeros(batch, dtype=torch.long, device=device)
    single = NormGrad(network, case.last, channel_dim=case.channel_dim)
    combined = CombinedNormGrad(network, case.four, channel_dim=case.channel_dim)
    saliency, asked = Saliency(network), images.clone().requires_grad_()

    def infer() -> Any:
        with torch.no_grad():
            return network(images)

    return {
        "inference": infer,
        "normgrad": lambda: single.attribute(images, target),
        "combined": lambda: combined.attribute(images, target),
        "saliency": lambda: saliency.attribute(asked, target),
    }


def _finished(call: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """A call that waits for the device."""

    def finished() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return finished


@contextlib.contextmanager
def _exact_convolutions() -> Iterator[None]:
    """Convolutions in float32, whatever tensor cores would round."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def main() -> int:
    """Write ``on_device.json``; 1 where a device and a CPU differ by more than the tolerances."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.on_device", description=__doc__)
    parser.add_argument("--device", default="cuda", metavar="D", help="default: cuda")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), metavar="DIR", help="default: runs/gpu")
    parser.add_argument("--quick", action="store_true", help="one network and small images, to see that it works")
    given = parser.parse_args()
    device, quick = torch.device(given.device), given.quick
    networks = ("resnet18",) if quick else ("resnet18", "resnet50", "vit_b_16")
    size, batches, repeats = (64, (2,), 3) if quick else (224, (8, 64), 20)
    distances = {
        name: {dtype: differences(name, device, size, getattr(torch, dtype)) for dtype in TOLERANCES}
        for name in networks
    }
    score = worst_score(device, size, 2 if quick else 16)
    waited = {name: waits(name, device, size) for name in networks}
    times = {f"{name}, batch {n}": costs(name, device, size, n, repeats) for name in networks for n in batches}
    facts = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    found = {
        "device": facts,
        "torch": torch.__version__,
        "image_size": size,
        "differences": distances,
        "score": score,
        "waits": waited,
        "times": times,
    }
    write_json(given.out / "on_device.json", found)
    same = score <= SCORES_TOLERANCE
    for dtype, tolerance in TOLERANCES.items():
        worst = max((far, name, cell) for name, by_dtype in distances.items() for cell, far in by_dtype[dtype].items())
        same &= worst[0] <= tolerance
        print(f"{dtype}, largest difference from a CPU: {worst[0]:.1e} of a map ({worst[1]}, {worst[2]})")
    print(f"largest difference of what scoring finds in the same maps: {score:.1e}")
    for name, by_call in waited.items():
        told = ", ".join(f"{key} {count}" for key, count in by_call.items())
        print(f"{name}, waits for the device: {told or 'none'}")
    for case, by_precision in times.items():
        for precision, of in by_precision.items():
            ratios = ", ".join(f"{key} {value:.2f}" for key, value in of["ratios"].items() if key != "inference")
            print(f"{case}, {precision}: inference {of['milliseconds']:.1f} ms; x inference: {ratios}")
    return int(not same)


if __name__ == "__main__":
    raise SystemExit(main())
